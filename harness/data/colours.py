"""Changes of colour, as torchvision makes them on Pillow images, with explicitly drawn numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from torchvision.transforms.v2 import functional

from harness.data.pixels import Uint8Array


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue change by random amounts, in random order.

    torchvision's `ColorJitter`, but for the generator that it draws from. Source: spec `hsc` section 4.

    Attributes:
        brightness, contrast, saturation: factors are uniform in [1 - x, 1 + x], not below 0.
        hue: the shift is uniform in [-x, x], in turns of the colour circle; at most 1/2.
    """

    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.1

    def draw(self, rng: np.random.Generator) -> Callable[[Uint8Array], Uint8Array]:
        """Draw a change of (H, W, 3) uint8 RGB; what is 0 here is left as it is."""
        steps: list[Callable[[Any], Any]] = []
        for name in ("brightness", "contrast", "saturation"):
            if strength := getattr(self, name):
                factor = float(rng.uniform(max(0.0, 1 - strength), 1 + strength))
                steps.append(partial(getattr(functional, f"adjust_{name}"), **{f"{name}_factor": factor}))
        if self.hue:
            shift = float(rng.uniform(-self.hue, self.hue))
            steps.append(partial(functional.adjust_hue, hue_factor=shift))
        order = rng.permutation(len(steps))

        def change(pixels: Uint8Array) -> Uint8Array:
            image = Image.fromarray(np.ascontiguousarray(pixels))
            for index in order:
                image = steps[index](image)
            return np.asarray(image)

        return change
