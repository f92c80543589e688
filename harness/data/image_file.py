"""Image files as they are stored: size from the header, wholeness from the end, pixels as RGB."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import InputError

_TAIL = 4096  # bytes; some cameras and tools append a little after the end marker
_END_MARKER = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return the stored pixels as (H, W, 3) uint8 RGB.

    Gray and CMYK are converted. An EXIF orientation is not applied: masks fit the stored pixels.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"there is no image {path}: complete the dataset") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"the image {path} cannot be read ({error}): replace the file") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) from the header, without decoding pixels (errors as `read_rgb`)."""
    return _header(path)[1]


def check_image(path: Path) -> list[int]:
    """Return [H, W, bytes] of an image file that is whole.

    A file whose end marker is missing was cut off; one where it is not at the very end is decoded to be sure.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    kind, (height, width) = _header(path)
    marker = _END_MARKER.get(kind)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    if marker is not None and marker not in tail:
        raise InputError(f"the image {path} is truncated (no end marker in {size} bytes): replace the file")
    if marker is None or not tail.endswith(marker):
        read_rgb(path)
    return [height, width, size]


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    try:
        with Image.open(path) as image:
            return image.format or "", (image.height, image.width)
    except FileNotFoundError:
        raise InputError(f"there is no image {path}: complete the dataset") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"the image {path} cannot be read ({error}): replace the file") from error
