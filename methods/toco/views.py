"""Three views of an image: the training crop, a second global view and the one that local views are cut from.

Source: spec `mcc`, section 5.2; on Pillow images, as released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from harness.data.colours import ColourJitter
from harness.data.geometry import CutResize, Geometry, Offsets, ResizeCut, Square, mirrored
from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD, Float32Array, ToFloat, Uint8Array
from harness.data.transforms import Label, RandomResizedCrop, Size, SquareCrop

_SOLARISE = 128  # values from here on are inverted


class StepwiseNormalise(ToFloat):
    """ImageNet's normalisation in torchvision's order of operations: by 255, minus mean, by deviation.

    The last bits decide which values lose a grey level when the labels' refinement truncates them again: 4 %,
    with the fused form 15 %.
    """

    def __init__(self) -> None:
        super().__init__(IMAGENET_STD, IMAGENET_MEAN)

    def __call__(self, image: Uint8Array, out: Float32Array | None = None) -> Float32Array:
        result: Float32Array = np.divide(image.transpose(2, 0, 1), np.float32(255), out=out)
        result -= self._summand
        result /= self._factor
        return result

    def batch(self, pixels: Tensor) -> Tensor:
        channels = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
        channels -= torch.from_numpy(self._summand).to(channels.device)
        channels /= torch.from_numpy(self._factor).to(channels.device)
        return channels


stepwise = StepwiseNormalise()


def blur(image: Uint8Array, radius: float) -> Uint8Array:
    """Pillow's Gaussian blur of (H, W, 3) uint8 RGB."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def solarise(image: Uint8Array) -> Uint8Array:
    """Invert the values of (H, W, 3) uint8 RGB that are 128 or more."""
    return np.asarray(ImageOps.solarize(Image.fromarray(image), _SOLARISE))


def grey(image: Uint8Array) -> Uint8Array:
    """The luminance of (H, W, 3) uint8 RGB in all three channels."""
    return np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)


@dataclass(frozen=True)
class Photometric:
    """Random changes of colour, in this order, each with its probability.

    Attributes:
        blurred: probability of a Gaussian blur.
        solarised: probability of a solarisation.
        jittered: probability of `jitter`.
        greyed: probability of losing all colour.
        radius: range of the blur's radius in pixels.
        jitter: of brightness, contrast, saturation and hue.
    """

    blurred: float
    solarised: float = 0.0
    jittered: float = 0.8
    greyed: float = 0.2
    radius: tuple[float, float] = (0.1, 2.0)
    jitter: ColourJitter = field(default_factory=lambda: ColourJitter(0.4, 0.4, 0.2, 0.1))

    def __call__(self, image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
        """Change (H, W, 3) uint8 RGB."""
        if rng.random() < self.jittered:
            image = self.jitter.draw(rng)(image)
        if rng.random() < self.greyed:
            image = grey(image)
        if rng.random() < self.blurred:
            image = blur(image, float(rng.uniform(*self.radius)))
        if rng.random() < self.solarised:
            image = solarise(image)
        return image


GLOBAL, LOCAL, CROP = Photometric(0.1, solarised=0.2), Photometric(0.5), Photometric(1.0)


def rescale_crop(size: Size, *, ratio: float, flip: bool, offsets: Offsets, crop: int) -> ResizeCut:
    """Return the geometry of the training crop: (H, W) times `ratio`, cut off to whole pixels, bilinear."""
    scaled = (int(ratio * size[0]), int(ratio * size[1]))
    return ResizeCut(scaled, Image.Resampling.BILINEAR, flip, offsets, crop)


@TRANSFORMS.register_module()
class ContrastViews(SquareCrop):
    """The sample is the training crop; beside it go `second_view`, `local_view` and `content`.

    The views are (3, crop, crop) uint8 RGB, the content (1, crop, crop) uint8, 1 where the crop shows the
    image and 0 on the black canvas around it. The crop and the local view are the same pixels in other
    colours, each mirrored with probability 1/2.

    Args:
        crop: side of all views.
        scale: range of the crop's factor.
        area: range of the second view's part of the image.
        greyed: probability of a view to lose its colours.
        radius: range of the radius of blurs, which suits the crop of 448.
        align_local_flip: mirror the local view with the crop. The release draws a mirror for each, but
            applies masks and regions that it makes of the one to the other.
        flip_box: mirror the content with the crop; the release leaves it as it was before.
    """

    to_float: ToFloat = stepwise

    def __init__(
        self,
        crop: int = 448,
        scale: tuple[float, float] = (0.5, 2.0),
        area: tuple[float, float] = (0.4, 1.0),
        greyed: float = 0.2,
        radius: tuple[float, float] = (0.1, 2.0),
        align_local_flip: bool = False,
        flip_box: bool = False,
    ) -> None:
        self.crop, self.scale = crop, (scale[0], scale[1])
        self.second = RandomResizedCrop(crop, area=area)
        self.second_colours, self.local_colours, self.crop_colours = (
            replace(colours, greyed=greyed, radius=(radius[0], radius[1]))
            for colours in (GLOBAL, LOCAL, CROP)
        )
        self.align_local_flip, self.flip_box = align_local_flip, flip_box

    def geometry(self, size: Size, rng: np.random.Generator) -> ResizeCut:
        ratio = float(rng.uniform(*self.scale))
        flip = rng.random() < 0.5
        scaled = [int(ratio * side) for side in size]
        vertical, horizontal = (int(rng.integers(abs(side - self.crop) + 1)) for side in scaled)
        offsets = Offsets(horizontal, vertical)
        return rescale_crop(size, ratio=ratio, flip=flip, offsets=offsets, crop=self.crop)

    def raw(
        self, image: Uint8Array, label: Label, maps: Mapping[str, Uint8Array], rng: np.random.Generator
    ) -> tuple[Square, Label, dict[str, Float32Array]]:
        """Return the crop, and the views with the maps; a label and maps are those of the crop."""
        size = (image.shape[0], image.shape[1])
        second: Geometry = self.second.geometry(size, rng)
        assert isinstance(second, CutResize)
        second_view = self.second_colours(second.square(image).pixels, rng)
        geometry = self.geometry(size, rng)
        square = geometry.square(image)
        flip, local_flip = rng.random() < 0.5, rng.random() < 0.5
        local_flip = flip if self.align_local_flip else local_flip
        local_view = self.local_colours(_turned(square.pixels, local_flip), rng)
        pixels = self.crop_colours(_turned(square.pixels, flip), rng)
        content = np.zeros((self.crop, self.crop), np.uint8)
        content[square.rows, square.columns] = 1
        extra = {
            "second_view": second_view.transpose(2, 0, 1),
            "local_view": local_view.transpose(2, 0, 1),
            "content": _turned(content, flip and self.flip_box)[None],
        }
        return (
            Square(np.array(pixels), slice(0, self.crop), slice(0, self.crop)),
            None if label is None else _turned(geometry.label(label), flip),
            {name: _turned(geometry.map(values), flip) for name, values in maps.items()}
            | {name: np.array(view) for name, view in extra.items()},
        )


def _turned(plane: np.ndarray, flip: bool) -> np.ndarray:
    """Mirror left-right (H, W) or (H, W, 3); maps have their one channel first."""
    if not flip:
        return plane
    return np.ascontiguousarray(plane[..., ::-1]) if plane.shape[0] == 1 else mirrored(plane)
