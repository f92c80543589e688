"""Image and label transforms of the literature, exact to the pixel.

Every augmentation is a function of explicitly drawn numbers, and a registered class that draws them from a
generator: `transform(image, label, rng) -> (sample, label)` with

- image: (H, W, 3) uint8 RGB; label: (H, W) uint8 or None; rng: a `numpy.random.Generator`;
- sample: (3, h, w) float32, normalised; label: (h, w) uint8 or None.

Resizing is Pillow's on uint8 and sizes are rounded half to even, as in the released codes.
Sources: spec `vwe` sections 5, 7 and 9.2, spec `irn` sections A.2, A.3 and B.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from mmengine.registry import TRANSFORMS
from PIL import Image

Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of values in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (104.008, 116.669, 122.675)  # of values in [0, 255]
IGNORE = 255

# x / 255 - mean, divided by std, as one multiplication and one addition per value.
_FACTOR = (1 / (255 * np.array(IMAGENET_STD))).astype(np.float32)[:, None, None]
_SHIFT = (-np.array(IMAGENET_MEAN) / np.array(IMAGENET_STD)).astype(np.float32)[:, None, None]
_CAFFE_MEAN = np.array(CAFFE_MEAN_BGR, np.float32)[:, None, None]


class Offsets(NamedTuple):
    """Pixels from the left and from the top: of the crop in the image, or of the image in the canvas."""

    horizontal: int
    vertical: int


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """(H, W) times scale, each rounded half to even."""
    return round(size[0] * scale), round(size[1] * scale)


def resize(array: Uint8Array, size: tuple[int, int], resample: Image.Resampling) -> Uint8Array:
    """Pillow's resize of a (H, W) or (H, W, 3) uint8 array to `size` = (h, w)."""
    if array.shape[:2] == size:
        return array
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), resample))


def normalise(image: Uint8Array, out: Float32Array | None = None) -> Float32Array:
    """(H, W, 3) uint8 RGB to (3, H, W) float32, minus ImageNet's mean and divided by its deviation."""
    result: Float32Array = np.multiply(image.transpose(2, 0, 1), _FACTOR, out=out)
    result += _SHIFT
    return result


def subtract_caffe_mean(image: Uint8Array, out: Float32Array | None = None) -> Float32Array:
    """(H, W, 3) uint8 RGB to (3, H, W) float32 **BGR** in 0..255 minus the Caffe mean."""
    result: Float32Array = np.subtract(image[..., ::-1].transpose(2, 0, 1), _CAFFE_MEAN, out=out)
    return result


class ToFloat(Protocol):
    """Turns uint8 RGB into a network's input, into `out` where one is given."""

    def __call__(self, image: Uint8Array, out: Float32Array | None = None) -> Float32Array: ...


TO_FLOAT: dict[str, ToFloat] = {"caffe": subtract_caffe_mean, "imagenet": normalise}


def scale_flip_stack(image: Uint8Array, scale: float) -> Float32Array:
    """The (2, 3, h, w) float32 stack of a resized, normalised image and its mirror, for CAM inference."""
    resized = resize(image, scaled_size(image.shape, scale), Image.Resampling.BICUBIC)
    stack = np.empty((2, 3, *resized.shape[:2]), np.float32)
    normalise(resized, out=stack[0])
    stack[1] = stack[0, ..., ::-1]
    return stack


def reduce_label(label: Uint8Array, factor: int = 4) -> Uint8Array:
    """Pillow's nearest resize of a label (H, W) to a quarter (an even `factor` that divides both sides)."""
    return label[factor // 2 :: factor, factor // 2 :: factor]


def _window(length: int, offset: int, crop: int) -> tuple[slice, slice]:
    """Where an axis is read and where it is written: cropped if longer than the crop, else placed in it."""
    if length > crop:
        return slice(offset, offset + crop), slice(0, crop)
    return slice(0, length), slice(offset, offset + length)


def _resize_flip_cut(
    image: Uint8Array,
    label: Uint8Array | None,
    *,
    size: tuple[int, int],
    resample: Image.Resampling,
    flip: bool,
    offsets: Offsets,
    crop: int,
    to_float: ToFloat,
) -> tuple[Float32Array, Uint8Array | None]:
    """Resize (label nearest), mirror, cut or place each axis, and convert only what is left of the image."""
    step = -1 if flip else 1
    rows, target_rows = _window(size[0], offsets.vertical, crop)
    columns, target_columns = _window(size[1], offsets.horizontal, crop)
    sample = np.zeros((3, crop, crop), np.float32)
    resized = resize(image, size, resample)[:, ::step]
    to_float(resized[rows, columns], sample[:, target_rows, target_columns])
    if label is None:
        return sample, None
    canvas = np.full((crop, crop), IGNORE, np.uint8)
    resized_label = resize(label, size, Image.Resampling.NEAREST)[:, ::step]
    canvas[target_rows, target_columns] = resized_label[rows, columns]
    return sample, canvas


def resize_flip_crop(
    image: Uint8Array,
    label: Uint8Array | None,
    *,
    size: tuple[int, int],
    flip: bool,
    offsets: Offsets,
    crop: int,
) -> tuple[Float32Array, Uint8Array | None]:
    """Resize (bicubic, label nearest), normalise, mirror, and crop to a square.

    An axis longer than the crop is cut at its offset; a shorter one is put at its offset into a canvas of
    zeros, which is ImageNet's mean colour (255 for the label).

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 or None.
        size: (h, w) after resizing.
        flip: mirror left-right.
        offsets: of the crop or of the placement.
        crop: side of the result.
    """
    return _resize_flip_cut(
        image,
        label,
        size=size,
        resample=Image.Resampling.BICUBIC,
        flip=flip,
        offsets=offsets,
        crop=crop,
        to_float=normalise,
    )


def long_side_crop(
    image: Uint8Array,
    label: Uint8Array | None = None,
    *,
    long_side: int,
    flip: bool,
    offsets: Offsets,
    crop: int,
) -> tuple[Float32Array, Uint8Array | None]:
    """Training sample of the CAM networks: resize the longer side to `long_side`; see `resize_flip_crop`."""
    size = scaled_size(image.shape, long_side / max(image.shape[:2]))
    return resize_flip_crop(image, label, size=size, flip=flip, offsets=offsets, crop=crop)


def irn_crop(
    image: Uint8Array,
    label: Uint8Array | None,
    *,
    scale: float,
    flip: bool,
    offsets: Offsets,
    crop: int,
) -> tuple[Float32Array, Uint8Array | None]:
    """Training sample of IRNet: resize by `scale`; see `resize_flip_crop` and `reduce_label`."""
    size = scaled_size(image.shape, scale)
    return resize_flip_crop(image, label, size=size, flip=flip, offsets=offsets, crop=crop)


def deeplab_crop(
    image: Uint8Array,
    label: Uint8Array | None,
    *,
    scale: float,
    flip: bool,
    offsets: Offsets,
    crop: int,
    to_float: ToFloat = subtract_caffe_mean,
) -> tuple[Float32Array, Uint8Array | None]:
    """Training sample of DeepLab v2: resize (bilinear, label nearest), mirror, pad, crop, BGR minus the mean.

    A side shorter than the crop is padded before it, at the top or the left, with the mean colour (255 for
    the label); its offset must be 0.
    """
    height, width = size = scaled_size(image.shape, scale)
    # Padding before the image is the same as placing it at the end of the canvas.
    placed = Offsets(
        offsets.horizontal if width > crop else crop - width,
        offsets.vertical if height > crop else crop - height,
    )
    return _resize_flip_cut(
        image,
        label,
        size=size,
        resample=Image.Resampling.BILINEAR,
        flip=flip,
        offsets=placed,
        crop=crop,
        to_float=to_float,
    )


def _draw_offset(length: int, crop: int, rng: np.random.Generator) -> int:
    """Uniform over all offsets of the crop in the axis, or of the axis in the crop."""
    return int(rng.integers(abs(length - crop) + 1))


@TRANSFORMS.register_module()
class LongSideCrop:
    """`long_side_crop` with a long side uniform in [low, high], a mirror with probability 1/2, any offset."""

    def __init__(self, long_side: tuple[int, int] = (320, 640), crop: int = 512) -> None:
        self.long_side, self.crop = tuple(long_side), crop

    def __call__(
        self, image: Uint8Array, label: Uint8Array | None, rng: np.random.Generator
    ) -> tuple[Float32Array, Uint8Array | None]:
        low, high = self.long_side
        long_side = int(rng.integers(low, high + 1))
        height, width = scaled_size(image.shape, long_side / max(image.shape[:2]))
        flip = rng.random() < 0.5
        offsets = Offsets(_draw_offset(width, self.crop, rng), _draw_offset(height, self.crop, rng))
        return long_side_crop(image, label, long_side=long_side, flip=flip, offsets=offsets, crop=self.crop)


@TRANSFORMS.register_module()
class RandomScaleCrop:
    """`irn_crop` with a scale uniform in [low, high], a mirror with probability 1/2, any offset.

    The label comes out at stride `label_stride`, as IRNet's pairs live on that grid.
    """

    def __init__(
        self, scale: tuple[float, float] = (0.5, 1.5), crop: int = 512, label_stride: int = 4
    ) -> None:
        self.scale, self.crop, self.label_stride = (scale[0], scale[1]), crop, label_stride

    def __call__(
        self, image: Uint8Array, label: Uint8Array | None, rng: np.random.Generator
    ) -> tuple[Float32Array, Uint8Array | None]:
        scale = float(rng.uniform(*self.scale))
        height, width = scaled_size(image.shape, scale)
        flip = rng.random() < 0.5
        offsets = Offsets(_draw_offset(width, self.crop, rng), _draw_offset(height, self.crop, rng))
        sample, label = irn_crop(image, label, scale=scale, flip=flip, offsets=offsets, crop=self.crop)
        return sample, None if label is None else reduce_label(label, self.label_stride)


@TRANSFORMS.register_module()
class DeepLabCrop:
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

    def __call__(
        self, image: Uint8Array, label: Uint8Array | None, rng: np.random.Generator
    ) -> tuple[Float32Array, Uint8Array | None]:
        scale = self.scales[int(rng.integers(len(self.scales)))]
        height, width = scaled_size(image.shape, scale)
        flip = rng.random() < 0.5
        vertical = _draw_offset(max(height, self.crop), self.crop, rng)
        horizontal = _draw_offset(max(width, self.crop), self.crop, rng)
        offsets = Offsets(horizontal, vertical)
        return deeplab_crop(
            image, label, scale=scale, flip=flip, offsets=offsets, crop=self.crop, to_float=self.to_float
        )


@TRANSFORMS.register_module()
class WholeImage:
    """The whole image for inference; `pixels` as in `DeepLabCrop`; the label as it is."""

    def __init__(self, pixels: Literal["caffe", "imagenet"] = "caffe") -> None:
        self.to_float = TO_FLOAT[pixels]

    def __call__(
        self, image: Uint8Array, label: Uint8Array | None, rng: np.random.Generator
    ) -> tuple[Float32Array, Uint8Array | None]:
        return self.to_float(image), label
