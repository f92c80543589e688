"""Means over pairs of positions, of IRNet's and AffinityNet's losses."""

from __future__ import annotations

from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

EPSILON = 1e-5


def mean_over_pairs(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` (broadcast over the channels) holds, over the pairs of all devices.

    Data-parallel training averages gradients over devices, so with W devices this is W x the local sum over
    the global count.
    """
    channels = values.numel() // mask.numel()
    count = channels * mask.sum().to(values.dtype)
    all_reduce(count)
    return get_world_size() * (values * mask).sum() / (count + EPSILON)
