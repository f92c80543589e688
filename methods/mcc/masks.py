"""Key masks of MCC: which tokens of the local view are hidden, and what the visible ones show.

Source: spec `mcc`, section 2.6.
"""

from __future__ import annotations

import torch
from mmengine.dist import get_dist_info
from torch import Tensor

from harness.errors import InputError
from methods.toco.crops import NEGATIVE


def draw_masks(
    batch: int,
    views: int,
    grid: tuple[int, int],
    *,
    scale: int,
    rate: float,
    device: torch.device | str = "cpu",
    per_rank: bool = False,
) -> Tensor:
    """(views, batch, h, w) bool: hidden blocks of scale x scale tokens, drawn one by one.

    Args:
        batch, views: how many.
        grid: h, w.
        scale: side of a block.
        rate: probability of a block to be hidden.
        device: whose random numbers are drawn.
        per_rank: draw for all processes and take this one's. Else processes with the same seed, as released,
            draw the same masks.

    Raises:
        InputError: the grid is not a multiple of the scale.
    """
    if grid[0] % scale or grid[1] % scale:
        raise InputError(
            f"the crop has {grid[0]} x {grid[1]} patches, which blocks of {scale} x {scale} do not fill: set "
            f"the transform's crop to a multiple of {scale} patches, or the model's mask_scale"
        )
    rank, ranks = get_dist_info() if per_rank else (0, 1)
    shape = (ranks, batch, views, grid[0] // scale, grid[1] // scale)
    coarse = torch.bernoulli(torch.full(shape, rate, device=device))[rank]
    return enlarge(coarse.transpose(0, 1) > 0, scale)


def enlarge(masks: Tensor, scale: int) -> Tensor:
    """(..., h, w) to (..., scale * h, scale * w), nearest."""
    return masks.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def positives(region: Tensor, hidden: Tensor) -> Tensor:
    """(B, V) bool: views whose visible tokens are not background; one without visible tokens is none.

    Args:
        region: (B, h, w) of `labels.interest`.
        hidden: (V, B, h, w) bool.
    """
    visible = (~hidden).float()
    shown = (region * visible).sum((-2, -1))
    return (shown > NEGATIVE * visible.sum((-2, -1))).T
