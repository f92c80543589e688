"""From class maps to what ToCo and MCC train on: labels and regions of interest.

Source: spec `mcc`, sections 2.2, 2.5 and 2.6. Class maps are *valid* when those of absent classes are 0.
In the shapes, C counts classes without background, P those of the image that has most of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.palette import IGNORE
from methods.modules.refined_labels import Thresholds, resize

UNCERTAIN, CERTAIN = 1, 2  # of a region of interest; 0 is background


def seed_labels(valid: Tensor, content: Tensor, thresholds: Thresholds) -> Tensor:
    """(B, H, W) int64 labels of valid class maps (B, C, H, W), 255 where undecided or outside the image.

    Args:
        valid: class maps.
        content: (B, H, W) bool, where the image is.
        thresholds: of the best class.
    """
    value, best = valid.max(1)
    labels = (best + 1).masked_fill(value <= thresholds.high, IGNORE)
    labels = labels.masked_fill(value <= thresholds.low, 0)
    return labels.masked_fill(~content, IGNORE)


def affinity_labels(
    valid: Tensor, content: Tensor, grid: tuple[int, int], thresholds: Thresholds, *, scale_box: bool = False
) -> Tensor:
    """(B, h, w) labels of the tokens.

    Args:
        valid: (B, C, H, W) class maps.
        content: (B, H, W) bool, where the image is.
        grid: h, w.
        thresholds: of the best class.
        scale_box: see tokens as outside whose pixels are. The release cuts the box of the content, in pixels,
            out of the grid of tokens.
    """
    if scale_box:
        inside = F.interpolate(content[:, None].float(), size=grid, mode="nearest")[:, 0] > 0
    else:
        inside = content[:, : grid[0], : grid[1]]
    return seed_labels(resize(valid, grid), inside, thresholds)


def interest(valid: Tensor, thresholds: Thresholds) -> Tensor:
    """(B, H, W) uint8 region of interest: 0 background, 1 uncertain, 2 certainly of a class of the image."""
    value = valid.amax(1)
    region = torch.full_like(value, UNCERTAIN, dtype=torch.uint8)
    region[value <= thresholds.low] = 0
    region[value >= thresholds.high] = CERTAIN
    return region
