"""Pipelines of mmcv's and mmsegmentation's transforms in the place of one of ours.

They resize with OpenCV, whose filters differ from Pillow's, so they make none of the published augmentations
that `harness.data.transforms` has; recipes that were published with them need them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import mmseg.datasets.transforms  # noqa: F401  registers its transforms, and mmcv's with them
import numpy as np
from mmseg.registry import TRANSFORMS

from harness.data.global_random import seeded_globals
from harness.data.pixels import TO_FLOAT, Float32Array, Uint8Array


@TRANSFORMS.register_module()
class MMPipeline:
    """`transforms` one after another, such as `[dict(type="RandomFlip", prob=0.5)]`.

    Each is told of `img`, (H, W, 3) uint8 BGR, and of `gt_seg_map` where there is a label, as loading
    transforms of mmsegmentation leave them. Those that load, normalise or pack have no place here.

    Args:
        transforms: their configs.
        pixels: what the network takes, as in `DeepLabCrop`.
    """

    def __init__(
        self, transforms: Sequence[Mapping[str, Any]], pixels: Literal["caffe", "imagenet"] = "imagenet"
    ) -> None:
        self.transforms = [TRANSFORMS.build(_with_tuples(dict(config))) for config in transforms]
        self.to_float = TO_FLOAT[pixels]

    def __call__(
        self, image: Uint8Array, label: Uint8Array | None, rng: np.random.Generator
    ) -> tuple[Float32Array, Uint8Array | None]:
        size = image.shape[:2]
        results: dict[str, Any] = {"img": image[..., ::-1], "img_shape": size, "ori_shape": size}
        results["seg_fields"] = [] if label is None else ["gt_seg_map"]
        if label is not None:
            results["gt_seg_map"] = label
        with seeded_globals(rng):
            for transform in self.transforms:
                results = transform(results)
        return self.to_float(results["img"][..., ::-1]), results.get("gt_seg_map")


def _with_tuples(value: Any) -> Any:
    """A config whose lists of numbers are tuples again: JSON has none, these transforms insist on them."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(part) for name, part in value.items()}
    if isinstance(value, list):
        parts = [_with_tuples(part) for part in value]
        return tuple(parts) if all(isinstance(part, int | float) for part in parts) else parts
    return value
