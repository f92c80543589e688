"""From stored pixels to a network's input: resizing, normalisation, stacks of scales.

Resizing is Pillow's on uint8 and sizes are rounded half to even, as in the released codes.
Sources: spec `vwe` section 7, spec `irn` section A.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of values in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (104.008, 116.669, 122.675)  # of values in [0, 255]


class ToFloat:
    """Turns stored pixels into a network's input: a factor and a summand per channel, in float32.

    Args:
        factor: per channel.
        summand: per channel, added after the multiplication.
        bgr: turn the channels round first.
    """

    def __init__(self, factor: npt.ArrayLike, summand: npt.ArrayLike, *, bgr: bool = False) -> None:
        self._factor = np.asarray(factor, np.float32)[:, None, None]
        self._summand = np.asarray(summand, np.float32)[:, None, None]
        self._bgr = bgr

    def __call__(self, image: Uint8Array, out: Float32Array | None = None) -> Float32Array:
        """(H, W, 3) uint8 RGB to (3, H, W) float32, into `out` where one is given."""
        channels = (image[..., ::-1] if self._bgr else image).transpose(2, 0, 1)
        result: Float32Array = np.multiply(channels, self._factor, out=out)
        result += self._summand
        return result

    def batch(self, pixels: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32 on the same device; the same numbers as a call's."""
        channels = (pixels.flip(-1) if self._bgr else pixels).permute(0, 3, 1, 2)
        result = channels.new_empty(channels.shape, dtype=torch.float32).copy_(channels)
        result *= torch.from_numpy(self._factor).to(result.device)
        result += torch.from_numpy(self._summand).to(result.device)
        return result


_MEAN, _STD = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)

normalise = ToFloat(1 / (255 * _STD), -_MEAN / _STD)
"""RGB minus ImageNet's mean, divided by its deviation."""

subtract_caffe_mean = ToFloat(np.ones(3), -np.array(CAFFE_MEAN_BGR), bgr=True)
"""**BGR** in 0..255 minus the Caffe mean."""

TO_FLOAT = {"caffe": subtract_caffe_mean, "imagenet": normalise}


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """(H, W) times scale, each rounded half to even."""
    return round(size[0] * scale), round(size[1] * scale)


def resize(array: Uint8Array, size: tuple[int, int], resample: Image.Resampling) -> Uint8Array:
    """Pillow's resize of a (H, W) or (H, W, 3) uint8 array to `size` = (h, w)."""
    if array.shape[:2] == size:
        return array
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), resample))


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
