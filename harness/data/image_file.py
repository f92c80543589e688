"""Image files as they are stored: size from the header, wholeness from the end, pixels as RGB."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from harness.data.bad_file import reading
from harness.errors import InputError

_TAIL = 4096  # bytes; some cameras and tools append a little after the end marker
_END_MARKER = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class ImageFact(NamedTuple):
    """What is known of an image without decoding it.

    Attributes:
        height, width: in stored pixels.
        size: of the file in bytes.
        mode: `RGB`, or `L` for gray.
        orientation: EXIF's, 1 (upright) to 8.
    """

    height: int
    width: int
    size: int
    mode: str
    orientation: int


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return the stored pixels as (H, W, 3) uint8 RGB; gray is repeated.

    An EXIF orientation is not applied: masks fit the stored pixels.

    Raises:
        InputError: the file is missing, truncated, no image, or its colours are neither RGB nor gray.
    """
    with reading("image", path), Image.open(path) as image:
        _require_colours(path, image)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) from the header, without decoding pixels (errors as `read_rgb`)."""
    with reading("image", path), Image.open(path) as image:
        return image.height, image.width


def check_image(path: Path) -> ImageFact:
    """Return what is known of an image file that is whole.

    A file whose end marker is missing was cut off; one where it is not at the very end is decoded to be sure.

    Raises:
        InputError: as `read_rgb`.
    """
    with reading("image", path), path.open("rb") as file, Image.open(file) as image:
        _require_colours(path, image)
        marker = _END_MARKER.get(image.format or "")
        size = file.seek(0, os.SEEK_END)
        fact = ImageFact(image.height, image.width, size, image.mode, _orientation(image))
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    if marker is not None and marker not in tail:
        raise InputError(f"the image {path} is truncated (no end marker in {size} bytes): replace the file")
    if marker is None or not tail.endswith(marker):
        read_rgb(path)
    return fact


def _require_colours(path: Path, image: Image.Image) -> None:
    # Others, such as CMYK, become other RGB values in every library.
    if image.mode not in ("RGB", "L"):
        raise InputError(
            f"the image {path} has {image.mode} colours, neither RGB nor gray: replace it or convert it"
        )


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 where there is none or EXIF is broken, as many cameras write it."""
    if not {"exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return 1
    with contextlib.suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        found = image.getexif().get(ExifTags.Base.Orientation)
        if isinstance(found, int) and 1 <= found <= 8:
            return found
    return 1
