"""Where the pixels of a training sample come from, told once and applied to image, label and maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.palette import IGNORE
from harness.data.pixels import Float32Array, ToFloat, Uint8Array, resize

Alter = Callable[[Uint8Array], Uint8Array]


class Offsets(NamedTuple):
    """Pixels from the left and from the top: of the crop in the image, or of the image in the canvas."""

    horizontal: int
    vertical: int


class Square(NamedTuple):
    """Stored pixels of a sample, a quarter of the bytes that a network's input takes.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        rows, columns: where the image is; around it the network's input is 0, which is the mean colour.
    """

    pixels: Uint8Array
    rows: slice
    columns: slice

    def to_float(self, to_float: ToFloat) -> Float32Array:
        """Return the network's input, (3, h, w) float32."""
        sample = np.zeros((3, *self.pixels.shape[:2]), np.float32)
        inside = self.rows, self.columns
        to_float(self.pixels[inside], sample[:, self.rows, self.columns])
        return sample


class Geometry(ABC):
    """Turns everything that belongs to one image, pixel by pixel, into that of one square sample."""

    @abstractmethod
    def square(self, image: Uint8Array, alter: Alter | None = None) -> Square:
        """Move an image (H, W, 3) uint8 RGB; `alter` changes colours before anything is cut off."""

    @abstractmethod
    def label(self, label: Uint8Array) -> Uint8Array:
        """(H, W) uint8 to (h, w), nearest, 255 where there is no image."""

    @abstractmethod
    def map(self, values: Uint8Array) -> Float32Array:
        """(H, W) uint8 to (1, h, w) float32 in [0, 1], resized as the image, 0 where there is none."""

    def image(self, image: Uint8Array, to_float: ToFloat) -> Float32Array:
        """(H, W, 3) uint8 RGB to the network's input, (3, h, w) float32."""
        return self.square(image).to_float(to_float)


@dataclass(frozen=True)
class ResizeCut(Geometry):
    """Resize, mirror, then cut each axis that is longer than the crop and place each that is shorter.

    Attributes:
        size: (h, w) after resizing.
        resample: of image and maps; labels are resized to the nearest.
        flip: mirror left-right.
        offsets: of the crop or of the placement.
        crop: side of the result. The canvas around a placed image is 0, which is the mean colour.
    """

    size: tuple[int, int]
    resample: Image.Resampling
    flip: bool
    offsets: Offsets
    crop: int

    def square(self, image: Uint8Array, alter: Alter | None = None) -> Square:
        resized = self._resized(image, self.resample)
        if alter is not None:
            resized = alter(resized)
        canvas = np.zeros((self.crop, self.crop, 3), np.uint8)
        source, target = self._windows()
        canvas[target] = self._mirrored(resized)[source]
        return Square(canvas, *target)

    def label(self, label: Uint8Array) -> Uint8Array:
        canvas = np.full((self.crop, self.crop), IGNORE, np.uint8)
        source, target = self._windows()
        canvas[target] = self._mirrored(self._resized(label, Image.Resampling.NEAREST))[source]
        return canvas

    def map(self, values: Uint8Array) -> Float32Array:
        canvas = np.zeros((1, self.crop, self.crop), np.float32)
        source, target = self._windows()
        resized = self._mirrored(self._resized(values, self.resample))[source]
        np.divide(resized, 255, out=canvas[0][target], dtype=np.float32)
        return canvas

    def cut(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Cut planes (C, h, w) that need no resizing: (C, crop, crop), 0 where there is no image."""
        canvas = np.zeros((len(planes), self.crop, self.crop), planes.dtype)
        source, target = self._windows()
        upright = planes[..., ::-1] if self.flip else planes
        canvas[(slice(None), *target)] = upright[(slice(None), *source)]
        return canvas

    def _resized(self, plane: Uint8Array, resample: Image.Resampling) -> Uint8Array:
        return resize(plane, self.size, resample)

    def _mirrored(self, plane: Uint8Array) -> Uint8Array:
        return mirrored(plane) if self.flip else plane

    def _windows(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """(rows, columns) that are read, and where they are written."""
        rows = _window(self.size[0], self.offsets.vertical, self.crop)
        columns = _window(self.size[1], self.offsets.horizontal, self.crop)
        return (rows[0], columns[0]), (rows[1], columns[1])


def mirrored(plane: Uint8Array) -> Uint8Array:
    """Mirror left-right; numpy would copy such a view byte by byte later, ten times slower."""
    return np.asarray(cv2.flip(plane, 1), np.uint8)


def _window(length: int, offset: int, crop: int) -> tuple[slice, slice]:
    """Where an axis is read and where it is written: cropped if longer than the crop, else placed in it."""
    if length > crop:
        return slice(offset, offset + crop), slice(0, crop)
    return slice(0, length), slice(offset, offset + length)


@dataclass(frozen=True)
class CutResize(Geometry):
    """Cut a box out of the image, resize it to a square, mirror.

    Attributes:
        rows, columns: the box.
        resample: of image and maps; labels are resized to the nearest.
        flip: mirror left-right.
        crop: side of the result.
    """

    rows: slice
    columns: slice
    resample: Image.Resampling
    flip: bool
    crop: int

    def square(self, image: Uint8Array, alter: Alter | None = None) -> Square:
        resized = self._resized(image, self.resample)
        whole = slice(0, self.crop)
        # A copy: what Pillow hands out may not be written to, and torch wants to.
        return Square(np.array(resized if alter is None else alter(resized)), whole, whole)

    def label(self, label: Uint8Array) -> Uint8Array:
        return self._resized(label, Image.Resampling.NEAREST)

    def map(self, values: Uint8Array) -> Float32Array:
        return np.divide(self._resized(values, self.resample), 255, dtype=np.float32)[None]

    def _resized(self, plane: Uint8Array, resample: Image.Resampling) -> Uint8Array:
        box = np.ascontiguousarray(plane[self.rows, self.columns])
        resized = resize(box, (self.crop, self.crop), resample)
        return mirrored(resized) if self.flip else resized
