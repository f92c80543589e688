"""Masks as 8-bit palette PNGs: the PASCAL VOC colour map, whole-or-absent writing, strict reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import InputError
from harness.files import atomic_file

IGNORE = 255


def voc_palette() -> NDArray[np.uint8]:
    """Return the colour map of the PASCAL VOC development kit: (256, 3) uint8 RGB.

    Colour i has bit 7-k of (red, green, blue) set from bits (3k, 3k+1, 3k+2) of i.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for k in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * k + channel)) & 1) << (7 - k)).astype(np.uint8)
    return colours


def write_mask(path: Path, mask: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Write a mask as a palette PNG; a file that has its name is whole.

    Args:
        mask: (H, W) uint8 labels.
        palette: (256, 3) uint8 RGB.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a mask is (H, W) uint8, not {mask.shape} {mask.dtype}")
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(palette.astype(np.uint8).tobytes())
    with atomic_file(path, durable=False) as file:
        image.save(file, format="PNG")


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a palette or plain gray 8-bit PNG: (H, W) uint8 labels.

    Raises:
        InputError: the file is missing, unreadable, or holds colours instead of labels.
    """
    try:
        with Image.open(path) as image:
            mode = image.mode
            # For a palette image this takes the indices, which are the labels, not the colours.
            mask = np.array(image)
    except FileNotFoundError:
        raise InputError(
            f"there is no mask {path}: complete the dataset or use a split that has masks"
        ) from None
    # Pillow reports broken PNG chunks as SyntaxError.
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"the mask {path} cannot be read ({error}): replace the file") from error
    if mode not in ("P", "L"):
        raise InputError(
            f"the mask {path} holds {mode} colours, not labels: replace it by an 8-bit palette or gray PNG"
        )
    return mask
