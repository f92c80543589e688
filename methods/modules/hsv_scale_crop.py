"""The augmentation of the second stage of HSC, PPC and RTC (spec `hsc`, section 11.2): OpenCV's, on uint8."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS
from PIL import Image

from harness.data.geometry import Alter, Geometry, Offsets, ResizeCut, Square
from harness.data.pixels import Uint8Array
from harness.data.transforms import Size, SquareCrop

_OPENCV = {Image.Resampling.BICUBIC: cv2.INTER_CUBIC, Image.Resampling.NEAREST: cv2.INTER_NEAREST}


def shift_hsv(image: Uint8Array, shifts: tuple[int, int, int]) -> Uint8Array:
    """Shift hue (0..179, around the circle), saturation and value (0..255, cut) of (H, W, 3) uint8 RGB."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16))
    hue = (hue + shifts[0]) % 180
    saturation, value = (np.clip(p + s, 0, 255) for p, s in zip((saturation, value), shifts[1:], strict=True))
    return cv2.cvtColor(cv2.merge([hue, saturation, value]).astype(np.uint8), cv2.COLOR_HSV2RGB)


@dataclass(frozen=True)
class HSVResizeCut(ResizeCut):
    """`ResizeCut` by a factor with OpenCV's filters, after a shift of the colours.

    Attributes:
        scale: the factor; OpenCV takes positions by it, not by the ratio of the rounded sizes.
        shifts: of hue, saturation and value, see `shift_hsv`.
    """

    scale: float
    shifts: tuple[int, int, int]

    def square(self, image: Uint8Array, alter: Alter | None = None) -> Square:
        return super().square(shift_hsv(np.ascontiguousarray(image), self.shifts), alter)

    def _resized(self, plane: Uint8Array, resample: Image.Resampling) -> Uint8Array:
        return cv2.resize(plane, None, fx=self.scale, fy=self.scale, interpolation=_OPENCV[resample])


def hsv_scale_crop(
    size: Size, *, shifts: tuple[int, int, int], flip: bool, scale: float, offsets: Offsets, crop: int
) -> HSVResizeCut:
    """Return the geometry of the second stage: colours, mirror, (H, W) times `scale`, crop."""
    scaled = (round(size[0] * scale), round(size[1] * scale))
    return HSVResizeCut(scaled, Image.Resampling.BICUBIC, flip, offsets, crop, scale, shifts)


@TRANSFORMS.register_module()
class HSVScaleCrop(SquareCrop):
    """`hsv_scale_crop` with everything drawn uniformly, a mirror with probability 1/2.

    Args:
        scale: range of the factor.
        crop: side of the sample.
        shift: hue, saturation and value each shift by an integer in [-shift, shift].
    """

    def __init__(self, scale: tuple[float, float] = (0.5, 1.5), crop: int = 448, shift: int = 10) -> None:
        self.scale, self.crop, self.shift = (scale[0], scale[1]), crop, shift

    def geometry(self, size: Size, rng: np.random.Generator) -> Geometry:
        hue, saturation, value = (int(rng.integers(-self.shift, self.shift + 1)) for _ in range(3))
        flip = rng.random() < 0.5
        scale = float(rng.uniform(*self.scale))
        height, width = (round(side * scale) for side in size)
        # An axis longer than the crop is cut anywhere, a shorter one is placed anywhere in it.
        offsets = Offsets(*(int(rng.integers(abs(side - self.crop) + 1)) for side in (width, height)))
        return hsv_scale_crop(
            size,
            shifts=(hue, saturation, value),
            flip=flip,
            scale=scale,
            offsets=offsets,
            crop=self.crop,
        )
