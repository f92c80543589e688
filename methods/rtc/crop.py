"""The training crop of RTC, which also says where the image is (spec `rtc`, section 2.2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mmengine.registry import TRANSFORMS

from harness.data.geometry import Square
from harness.data.pixels import Float32Array, Uint8Array
from harness.data.transforms import Label, LongSideCrop


@TRANSFORMS.register_module()
class BoxedLongSideCrop(LongSideCrop):
    """`LongSideCrop` with `content` (1, crop, crop) uint8 beside the sample: 1 where it shows the image."""

    def raw(
        self, image: Uint8Array, label: Label, maps: Mapping[str, Uint8Array], rng: np.random.Generator
    ) -> tuple[Square, Label, dict[str, Float32Array]]:
        square, label, moved = super().raw(image, label, maps, rng)
        content = np.zeros((1, *square.pixels.shape[:2]), np.uint8)
        content[:, square.rows, square.columns] = 1
        return square, label, moved | {"content": content}
