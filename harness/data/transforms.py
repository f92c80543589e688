"""Augmentations of the literature, exact to the pixel.

Every augmentation is a geometry of explicitly drawn numbers (`harness.data.geometry`), and a registered class
that draws them from a generator: `transform(image, label, rng) -> (sample, label)` with

- image: (H, W, 3) uint8 RGB; label: (H, W) uint8 or None; rng: a `numpy.random.Generator`;
- sample: (3, h, w) float32, normalised; label: (h, w) uint8 or None.

A transform that is a `SquareCrop` moves auxiliary maps with the image, too.
Sources: spec `vwe` sections 5 and 9.2, spec `irn` sections A.2 and B.7, spec `hsc` section 4, spec `semples`
section 5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from mmengine.registry import TRANSFORMS
from PIL import Image

from harness.data.colours import ColourJitter
from harness.data.geometry import CutResize, Geometry, Offsets, ResizeCut, Square
from harness.data.pixels import (
    TO_FLOAT,
    Float32Array,
    ToFloat,
    Uint8Array,
    normalise,
    reduce_label,
    scaled_size,
)

_BICUBIC, _BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
_ATTEMPTS = 10  # of RandomResizedCrop to find a box inside the image

Size = tuple[int, int]
Label = Uint8Array | None


def long_side_crop(
    size: Sequence[int], *, long_side: int, flip: bool, offsets: Offsets, crop: int
) -> ResizeCut:
    """Return the geometry of CAM networks: the longer side of (H, W) becomes `long_side`, bicubic."""
    return ResizeCut(scaled_size(size, long_side / max(size[:2])), _BICUBIC, flip, offsets, crop)


def irn_crop(size: Sequence[int], *, scale: float, flip: bool, offsets: Offsets, crop: int) -> ResizeCut:
    """Return the geometry of IRNet: (H, W) times `scale`, bicubic."""
    return ResizeCut(scaled_size(size, scale), _BICUBIC, flip, offsets, crop)


def deeplab_crop(size: Sequence[int], *, scale: float, flip: bool, offsets: Offsets, crop: int) -> ResizeCut:
    """Return the geometry of DeepLab v2: (H, W) times `scale`, bilinear.

    A side shorter than the crop is padded before it, at the top or the left; its offset is not used.
    """
    height, width = scaled = scaled_size(size, scale)
    # Padding before the image is the same as placing it at the end of the canvas.
    placed = Offsets(
        offsets.horizontal if width > crop else crop - width,
        offsets.vertical if height > crop else crop - height,
    )
    return ResizeCut(scaled, _BILINEAR, flip, placed, crop)


class SquareCrop(ABC):
    """A transform whose sample is a square of the image.

    A subclass must draw a geometry; it may set what follows.

    Attributes:
        to_float: from uint8 RGB to the network's input.
        jitter: changes of colour, drawn after the geometry.
        label_stride: labels come out at every so many pixels.
    """

    to_float: ToFloat = normalise
    jitter: ColourJitter | None = None
    label_stride: int = 1

    @abstractmethod
    def geometry(self, size: Size, rng: np.random.Generator) -> Geometry:
        """Draw the geometry for an image of (H, W)."""

    def __call__(
        self, image: Uint8Array, label: Label, rng: np.random.Generator
    ) -> tuple[Float32Array, Label]:
        sample, label, _ = self.with_maps(image, label, {}, rng)
        return sample, label

    def with_maps(
        self, image: Uint8Array, label: Label, maps: Mapping[str, Uint8Array], rng: np.random.Generator
    ) -> tuple[Float32Array, Label, dict[str, Float32Array]]:
        """Transform auxiliary maps with the image; the sample is that of a call without them.

        Args:
            maps: (H, W) uint8 by name.

        Returns:
            sample, label, and per map (1, h, w) float32 in [0, 1], 0 where there is no image.
        """
        square, label, moved = self.raw(image, label, maps, rng)
        return square.to_float(self.to_float), label, moved

    def raw(
        self, image: Uint8Array, label: Label, maps: Mapping[str, Uint8Array], rng: np.random.Generator
    ) -> tuple[Square, Label, dict[str, Float32Array]]:
        """Do what `with_maps` does but for `to_float`, which a loader does for whole batches.

        A subclass may add arrays of its own to the maps, such as other views of the image as bytes.
        """
        geometry = self.geometry((image.shape[0], image.shape[1]), rng)
        alter = self.jitter.draw(rng) if self.jitter else None
        square = geometry.square(image, alter)
        if label is not None:
            label = geometry.label(label)
            if self.label_stride > 1:
                label = reduce_label(label, self.label_stride)
        return square, label, {name: geometry.map(values) for name, values in maps.items()}


def _draw_offsets(size: Size, crop: int, rng: np.random.Generator) -> Offsets:
    """Draw any offset of the crop in each axis, or of the axis in the crop; the horizontal one first."""
    horizontal, vertical = (int(rng.integers(abs(length - crop) + 1)) for length in (size[1], size[0]))
    return Offsets(horizontal, vertical)


@TRANSFORMS.register_module()
class LongSideCrop(SquareCrop):
    """`long_side_crop` with a long side uniform in [low, high], a mirror with probability 1/2, any offset.

    Args:
        long_side: both ends of the range.
        crop: side of the sample.
        jitter: arguments of `ColourJitter`; None leaves the colours as they are.
    """

    def __init__(
        self,
        long_side: tuple[int, int] = (320, 640),
        crop: int = 512,
        jitter: Mapping[str, float] | None = None,
    ) -> None:
        self.long_side, self.crop = tuple(long_side), crop
        self.jitter = None if jitter is None else ColourJitter(**jitter)

    def geometry(self, size: Size, rng: np.random.Generator) -> Geometry:
        low, high = self.long_side
        long_side = int(rng.integers(low, high + 1))
        flip = rng.random() < 0.5
        offsets = _draw_offsets(scaled_size(size, long_side / max(size)), self.crop, rng)
        return long_side_crop(size, long_side=long_side, flip=flip, offsets=offsets, crop=self.crop)


@TRANSFORMS.register_module()
class RandomScaleCrop(SquareCrop):
    """`irn_crop` with a scale uniform in [low, high], a mirror with probability 1/2, any offset.

    The label comes out at stride `label_stride`, as IRNet's pairs live on that grid.
    """

    def __init__(
        self, scale: tuple[float, float] = (0.5, 1.5), crop: int = 512, label_stride: int = 4
    ) -> None:
        self.scale, self.crop, self.label_stride = (scale[0], scale[1]), crop, label_stride

    def geometry(self, size: Size, rng: np.random.Generator) -> Geometry:
        scale = float(rng.uniform(*self.scale))
        flip = rng.random() < 0.5
        offsets = _draw_offsets(scaled_size(size, scale), self.crop, rng)
        return irn_crop(size, scale=scale, flip=flip, offsets=offsets, crop=self.crop)


@TRANSFORMS.register_module()
class DeepLabCrop(SquareCrop):
    """`deeplab_crop` with one of the scales, a mirror with probability 1/2, any offset.

    `pixels` says what the network takes: `caffe` (0..255 BGR minus the mean) or `imagenet` (normalised RGB).
    """

    def __init__(
        self,
        scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5),
        crop: int = 321,
        pixels: Literal["caffe", "imagenet"] = "caffe",
    ) -> None:
        self.scales, self.crop, self.to_float = tuple(scales), crop, TO_FLOAT[pixels]

    def geometry(self, size: Size, rng: np.random.Generator) -> Geometry:
        scale = self.scales[int(rng.integers(len(self.scales)))]
        height, width = scaled_size(size, scale)
        flip = rng.random() < 0.5
        # The vertical offset is drawn first here.
        vertical = int(rng.integers(max(height - self.crop, 0) + 1))
        horizontal = int(rng.integers(max(width - self.crop, 0) + 1))
        offsets = Offsets(horizontal, vertical)
        return deeplab_crop(size, scale=scale, flip=flip, offsets=offsets, crop=self.crop)


@TRANSFORMS.register_module()
class RandomResizedCrop(SquareCrop):
    """A box of random area and aspect ratio, resized to a square; a mirror with probability 1/2.

    After ten boxes that did not fit it is the largest one in the middle with a ratio in the range.

    Args:
        crop: side of the sample.
        area: range of the box's area, as part of the image's; uniform.
        ratio: range of width / height, log-uniform.
        resample: `bicubic` or `bilinear`.
    """

    def __init__(
        self,
        crop: int = 224,
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        resample: Literal["bicubic", "bilinear"] = "bicubic",
    ) -> None:
        self.crop, self.area, self.ratio = crop, (area[0], area[1]), (ratio[0], ratio[1])
        self.resample = Image.Resampling[resample.upper()]

    def geometry(self, size: Size, rng: np.random.Generator) -> Geometry:
        rows, columns = self._box(size, rng)
        return CutResize(rows, columns, self.resample, bool(rng.random() < 0.5), self.crop)

    def _box(self, size: Size, rng: np.random.Generator) -> tuple[slice, slice]:
        for _ in range(_ATTEMPTS):
            area = size[0] * size[1] * rng.uniform(*self.area)
            ratio = np.exp(rng.uniform(*np.log(self.ratio)))
            height, width = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
            if 0 < height <= size[0] and 0 < width <= size[1]:
                top, left = int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1))
                return slice(top, top + height), slice(left, left + width)
        height = min(size[0], round(size[1] / self.ratio[0]))
        width = min(size[1], round(size[0] * self.ratio[1]))
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return slice(top, top + height), slice(left, left + width)


@TRANSFORMS.register_module()
class WholeImage:
    """The whole image for inference; `pixels` as in `DeepLabCrop`; the label as it is."""

    def __init__(self, pixels: Literal["caffe", "imagenet"] = "caffe") -> None:
        self.to_float = TO_FLOAT[pixels]

    def __call__(
        self, image: Uint8Array, label: Label, rng: np.random.Generator
    ) -> tuple[Float32Array, Label]:
        return self.to_float(image), label
