"""Masks as 8-bit palette PNGs: the PASCAL VOC colour map, whole-or-absent writing, strict reading."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from harness.data.bad_file import reading
from harness.data.fingerprint import bytes_hash
from harness.data.png import decode_labels
from harness.errors import InputError
from harness.files import atomic_file

IGNORE = 255
Colours = Literal["voc", "gray", "other"]

_REMEDY = "complete the dataset or use a split that has masks"
_MODES = {"I;16": "16-bit numbers", "I": "16-bit numbers", "1": "one bit per pixel"}


class MaskFact(NamedTuple):
    """What is known of a mask.

    Attributes:
        height, width: in pixels.
        labels: hash of the (H, W) labels.
        colours: the palette; `gray` where there is none.
        pixels: (label, number of its pixels) of each label that occurs, ascending.
    """

    height: int
    width: int
    labels: str
    colours: Colours
    pixels: Sequence[tuple[int, int]]


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
    with reading("mask", path, _REMEDY):
        content = path.read_bytes()
        mask = decode_labels(content)
        if mask is not None:
            return mask
        with Image.open(io.BytesIO(content)) as image:
            _require_labels(path, image)
            # For a palette image this takes the indices, which are the labels, not the colours.
            return np.array(image)


def check_mask(path: Path, classes: int) -> MaskFact:
    """Return what is known of a mask whose labels are 0 to `classes` or 255.

    Raises:
        InputError: as `read_mask`, or it holds another label.
    """
    with reading("mask", path, _REMEDY), Image.open(path) as image:
        _require_labels(path, image)
        labels, counts = image.tobytes(), image.histogram()
        colours = _colours(image)
    require_classes(path, labels, classes)
    pixels = [(label, count) for label, count in enumerate(counts) if count]
    return MaskFact(image.height, image.width, bytes_hash(labels), colours, pixels)


def require_classes(path: Path, labels: bytes, classes: int) -> None:
    """Check that the labels of the mask at `path`, a byte each, are 0 to `classes` or 255.

    Raises:
        InputError: one is not.
    """
    strange = labels.translate(None, _known(classes))
    if strange:
        raise InputError(
            f"the mask {path} holds label {strange[0]}, but labels are 0 to {classes} and {IGNORE}: replace "
            "the file"
        )


@functools.cache
def _known(classes: int) -> bytes:
    return bytes([*range(classes + 1), IGNORE])


def _require_labels(path: Path, image: Image.Image) -> None:
    if image.format != "PNG":
        found = f"is a {image.format} file"
    elif image.mode not in ("P", "L"):
        found = f"holds {_MODES.get(image.mode, image.mode + ' colours')}, not labels"
    # Pillow stretches gray values of fewer bits over 0 to 255.
    elif image.mode == "L" and isinstance(image, PngImageFile) and image.tile[0].args != "L":
        found = "holds gray values of fewer than 8 bits"
    else:
        return
    raise InputError(f"the mask {path} {found}: replace it by an 8-bit palette or gray PNG")


def _colours(image: Image.Image) -> Colours:
    if image.palette is None:
        return "gray"
    palette = image.palette.palette
    return "voc" if _voc_bytes().startswith(bytes(palette)) else "other"


@functools.cache
def _voc_bytes() -> bytes:
    return voc_palette().tobytes()
