"""Losses that look at the whole batch, when several processes train on a part of it each."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    """Join the parts of all processes; backward, a part gets the sum of what it gets in each of them.

    `torch.distributed.nn.functional.all_gather` (2.11) mixes up gradients that are not contiguous.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def whole_batch(part: Tensor) -> Tensor:
    """Join the parts (n, ...) of all processes, of equal shape, to (processes * n, ...), in their order.

    Gradients flow back into the parts of all processes. A loss of the whole batch, which every process
    computes alike, therefore reaches each part once per process, and the mean that DistributedDataParallel
    takes over the processes makes it that of a single process with the whole batch.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return part
    gathered: Tensor = _Gather.apply(part)
    return gathered
