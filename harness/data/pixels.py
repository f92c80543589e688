"""From stored pixels to a network's input: resizing, normalisation, stacks of scales.

Resizing is Pillow's on uint8 and sizes are rounded half to even, as in the released codes.
Sources: spec `vwe` section 7, spec `irn` section A.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of values in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (104.008, 116.669, 122.675)  # of values in [0, 255]

# x / 255 - mean, divided by std, as one multiplication and one addition per value.
_FACTOR = (1 / (255 * np.array(IMAGENET_STD))).astype(np.float32)[:, None, None]
_SHIFT = (-np.array(IMAGENET_MEAN) / np.array(IMAGENET_STD)).astype(np.float32)[:, None, None]
_CAFFE_MEAN = np.array(CAFFE_MEAN_BGR, np.float32)[:, None, None]


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
