"""From the raw activation maps of several scales and flips to the CAMs that are stored and evaluated.

Sources: spec `irn` section A.3 (flips summed, 'pad16'), spec `vwe` section 7 (flips' maximum, 'direct'), spec
`hsc` section 7 and spec `rtc` section 8.1 (flips summed, 'direct').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FlipFusion = Literal["max", "sum"]
HighRes = Literal["direct", "pad16"]
Normalisation = Literal["max", "min_max", "range"]
EPS = 1e-5
_RANGE_EPS = 1e-8


@dataclass(frozen=True)
class CAMScores:
    """CAMs of one image of H x W for the K classes of its image-level label.

    Attributes:
        keys: (K,) int64 class indices without background, ascending.
        cam: (K, ceil(H/4), ceil(W/4)) float32, each class normalised.
        high_res: (K, H, W) float32, likewise; not an upsampled `cam`.
    """

    keys: Tensor
    cam: Tensor
    high_res: Tensor


def fuse_flips(pair: Tensor, how: FlipFusion) -> Tensor:
    """Join the maps of an image and of its mirror: (..., 2, C, h, w) to (..., C, h, w)."""
    image, mirror = pair.unbind(-4)
    mirror = mirror.flip(-1)
    return torch.maximum(image, mirror) if how == "max" else image + mirror


def fuse_scales(maps: Sequence[Tensor], size: tuple[int, int], high_res: HighRes) -> tuple[Tensor, Tensor]:
    """Sum bilinear resizes of the scales' maps at stride 4 and at full size.

    Args:
        maps: per scale (C, h_s, w_s).
        size: H, W of the image.
        high_res: 'direct' resizes straight to H x W; 'pad16' to the next multiples of 16, and cuts.

    Returns:
        (C, ceil(H/4), ceil(W/4)) and (C, H, W).
    """
    height, width = size
    quarter = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    full = size if high_res == "direct" else ((height + 15) // 16 * 16, (width + 15) // 16 * 16)
    return _summed(maps, quarter), _summed(maps, full)[:, :height, :width]


def _summed(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    total = maps[0].new_zeros(maps[0].shape[0], *size)
    if maps[0].shape[0] == 0:
        return total
    for scale_map in maps:
        total += F.interpolate(scale_map[None], size=size, mode="bilinear", align_corners=False)[0]
    return total


def divide_by_maximum(cam: Tensor) -> Tensor:
    """(C, h, w) CAMs, each class divided by its spatial maximum + 1e-5."""
    return cam / (cam.amax(dim=(-2, -1), keepdim=True) + EPS)


def stretch(cam: Tensor) -> Tensor:
    """(C, h, w) CAMs, each class stretched to [0, 1] by its minimum and maximum (spec `rtc`, section 8.1).

    The minimum itself becomes slightly negative, as released.
    """
    cam = cam.clamp_min(0)
    high, low = cam.amax((-2, -1), keepdim=True), cam.amin((-2, -1), keepdim=True)
    cam = torch.where(cam < low + EPS, 0.0, cam)
    return (cam - low - EPS) / (high - low + EPS)


def between_extremes(cam: Tensor) -> Tensor:
    """(C, h, w) CAMs, each class between its minimum and maximum, plainly (spec `semples`, section 7)."""
    high, low = cam.amax((-2, -1), keepdim=True), cam.amin((-2, -1), keepdim=True)
    return (cam - low) / (high - low + _RANGE_EPS)


NORMALISATIONS: dict[Normalisation, Callable[[Tensor], Tensor]] = {
    "max": divide_by_maximum,
    "min_max": stretch,
    "range": between_extremes,
}


def cam_scores(
    maps: Sequence[Tensor],
    labels: Tensor,
    size: tuple[int, int],
    high_res: HighRes,
    normalisation: Normalisation = "max",
) -> list[CAMScores]:
    """Fuse the scales of a batch of equally large images, for the classes that each image has.

    Args:
        maps: per scale (N, C, h_s, w_s), flips already fused, not negative.
        labels: (N, C) multi-hot image-level labels.
        size: H, W of the images.
        high_res: see `fuse_scales`.
        normalisation: `max` divides each class by its maximum, `min_max` see `stretch`, `range` see
            `between_extremes`.

    Returns:
        One entry per image; K = 0 where the image has no class.
    """
    # Only the present (image, class) pairs are resized: resizing and summing act on each channel alone.
    present = labels.to(maps[0].device) > 0
    quarter, full = fuse_scales([scale_map[present] for scale_map in maps], size, high_res)
    counts = present.sum(dim=1).tolist()
    normalise = NORMALISATIONS[normalisation]
    cams, high = normalise(quarter).split(counts), normalise(full).split(counts)
    return [
        CAMScores(row.nonzero().flatten(), cam, large)
        for row, cam, large in zip(present, cams, high, strict=True)
    ]
