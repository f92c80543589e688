"""The training augmentation of DeiT, which WeakTr and SemPLeS use (spec `semples`, section 6).

RandAugment is timm's (Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
space", NeurIPS 2020); it draws from global states, which the sample's generator sets and which come back.
"""

from __future__ import annotations

import numpy as np
from mmseg.registry import TRANSFORMS
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from harness.data.global_random import seeded_globals
from harness.data.pixels import Float32Array, Uint8Array, normalise
from harness.data.transforms import Label, RandomResizedCrop

FILL = (124, 116, 104)  # what geometric operations leave empty
_ATTEMPTS = 10  # to find a rectangle inside the image


def erase(sample: Float32Array, rng: np.random.Generator) -> None:
    """Fill a random rectangle of a normalised sample (3, h, w) with normal noise, in place.

    Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, with timm's ranges: 2 % to a third of the
    area, height / width log-uniform in 0.3 to 1 / 0.3. After ten rectangles that did not fit, none is erased.
    """
    height, width = sample.shape[1:]
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(0.02, 1 / 3)
        aspect = np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
        h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if h < height and w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            sample[:, top : top + h, left : left + w] = rng.standard_normal((3, h, w), np.float32)
            return


@TRANSFORMS.register_module()
class AugmentedCrop:
    """`RandomResizedCrop` with a mirror, RandAugment, normalisation, random erasing; for image-level labels.

    Args:
        crop: side of the sample in pixels.
        rand_augment: timm's description of a policy; None for none.
        erasing: probability of random erasing.
        area: share of the image that a crop has, from and to.
    """

    def __init__(
        self,
        crop: int = 224,
        rand_augment: str | None = "rand-m9-mstd0.5-inc1",
        erasing: float = 0.25,
        area: tuple[float, float] = (0.08, 1.0),
    ) -> None:
        self.cut, self.erasing = RandomResizedCrop(crop=crop, area=area), erasing
        hparams = {"translate_const": int(0.45 * crop), "img_mean": FILL}
        hparams["interpolation"] = self.cut.resample
        self.augment = rand_augment_transform(rand_augment, hparams) if rand_augment else None

    def __call__(
        self, image: Uint8Array, label: Label, rng: np.random.Generator
    ) -> tuple[Float32Array, Label]:
        """Sample (3, crop, crop) of an image (H, W, 3) uint8 RGB.

        Raises:
            ValueError: there is a label map, which RandAugment cannot move.
        """
        if label is not None:
            raise ValueError("AugmentedCrop is for image-level labels; it cannot move a mask")
        pixels = self.cut.geometry((image.shape[0], image.shape[1]), rng).square(image, None).pixels
        if self.augment is not None:
            with seeded_globals(rng):
                pixels = np.asarray(self.augment(Image.fromarray(pixels)))
        sample = normalise(pixels)
        if rng.random() < self.erasing:
            erase(sample, rng)
        return sample, None
