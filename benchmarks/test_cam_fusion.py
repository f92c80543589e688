"""Fusion of four scales and two flips into the CAMs of an image, against resizing all classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from harness.ops.cam import cam_scores, fuse_flips

torch.set_num_threads(1)  # threads of a busy machine would be measured instead
SIZE = (375, 500)
LABELS = torch.zeros(1, 20)
LABELS[0, [2, 14]] = 1


@pytest.fixture(scope="module")
def pairs() -> list[torch.Tensor]:
    """Maps of image and mirror, (2, 20, h, w) per scale, at stride 16."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.rand(2, 20, round(24 * scale), round(32 * scale), generator=generator)
        for scale in (1.0, 0.5, 1.5, 2.0)
    ]


@pytest.mark.benchmark(group="CAM fusion, 375x500, 2 of 20 classes")
def test_present_classes_only(benchmark, pairs: list[torch.Tensor]) -> None:
    def fuse() -> torch.Tensor:
        maps = [fuse_flips(pair, "max")[None] for pair in pairs]
        return cam_scores(maps, LABELS, SIZE, "direct")[0].high_res

    assert benchmark(fuse).shape == (2, *SIZE)


@pytest.mark.benchmark(group="CAM fusion, 375x500, 2 of 20 classes")
def test_all_classes_then_selection(benchmark, pairs: list[torch.Tensor]) -> None:
    def fuse() -> torch.Tensor:
        quarter, full = 0.0, 0.0
        for pair in pairs:
            fused = fuse_flips(pair, "max")[None]
            quarter = quarter + F.interpolate(fused, (94, 125), mode="bilinear")
            full = full + F.interpolate(fused, SIZE, mode="bilinear")
        selected = full[0, [2, 14]]
        return selected / (selected.amax((1, 2), keepdim=True) + 1e-5)

    assert benchmark(fuse).shape == (2, *SIZE)
