"""Pooling and losses of VWE and VWL beside the multi-label soft margin (spec `vwe`, sections 2.2 and 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import InputError


def hybrid_pool(features: Tensor, levels: Sequence[int] = (1, 2, 4), gamma: float = 2.0) -> Tensor:
    """Hybrid spatial pyramid pooling: global average and means of local maxima, (N, D, h, w) to (N, D, 1, 1).

    Windows of level i are (h // i, w // i) with a stride of their size, so that their number can exceed i x i
    and trailing rows may be dropped; adaptive pooling would be another function.

    Raises:
        InputError: the map is smaller than the finest level.
    """
    height, width = features.shape[-2:]
    if min(height, width) < max(levels):
        raise InputError(
            f"A feature map of {height} x {width} is too small for level {max(levels)} of VWE's pooling; "
            "train with a larger crop or a backbone of smaller stride."
        )
    pooled = gamma * features.mean(dim=(2, 3))
    for level in levels:
        pooled = pooled + F.max_pool2d(features, (height // level, width // level)).mean(dim=(2, 3))
    return (pooled / (gamma + len(levels)))[:, :, None, None]


def decorrelation_loss(codebook: Tensor) -> Tensor:
    """L_decov of VWL-L: 0.5 * (||G||_F - ||diag G||_2), G = M M^T with M the row-centred codebook (K, D)."""
    centred = codebook - codebook.mean(dim=1, keepdim=True)
    gram = centred @ centred.T
    return 0.5 * (gram.norm() - gram.diagonal().norm())


def word_entropy(word_logits: Tensor) -> Tensor:
    """Mean entropy of the softmax over (N, K) word logits; logged, never optimised (as released)."""
    q = torch.softmax(word_logits, dim=1) + 1e-8
    return -(q * q.log()).sum(dim=1).mean()
