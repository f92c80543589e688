"""The terms of SemPLeS on pairs of an image and one of its classes (spec `semples`, section 5).

Lin, Wang, Wang, Chen, "Semantic Prompt Learning for Weakly-Supervised Semantic Segmentation", WACV 2025,
sections 3.2 to 3.4. K is the number of pairs of a batch; every mean is over pairs, not over images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

CLAMP = 1e-4


class Pairs(NamedTuple):
    """The positive labels of a batch, image by image.

    Attributes:
        images: (K,) int64.
        classes: (K,) int64.
    """

    images: Tensor
    classes: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> Pairs:
        """Pairs of multi-hot labels (B, C), in row-major order."""
        return cls(*labels.nonzero().unbind(1))

    def __len__(self) -> int:
        return len(self.images)


def soft_masks(maps: Tensor, size: Sequence[int], eps: float) -> Tensor:
    """(K, 1, H, W) masks in [0, 1] of refined CAMs (K, h, w); gradients go through minimum and maximum, too.

    Args:
        maps: the CAM of each pair alone: the release resizes those of all classes.
        size: H, W.
        eps: added to the range. The larger it is, the fainter are the masks of flat maps.
    """
    large = F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=True)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return (large - low) / (high - low + eps)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """(n,) cosines of rows (n, E), with no epsilon."""
    return ((first / first.norm(dim=-1, keepdim=True)) * (second / second.norm(dim=-1, keepdim=True))).sum(-1)


def attract(similarity: Tensor) -> Tensor:
    """Mean of -log(s); no gradient where s is clamped."""
    return -_clamped(similarity).log().mean()


def repel(similarity: Tensor) -> Tensor:
    """Mean of -log(1 - s); no gradient where s is clamped."""
    return -(1 - _clamped(similarity)).log().mean()


def repel_by_log(similarity: Tensor) -> Tensor:
    """Mean of log(s), as the release keeps prompts off class texts: minimised, bounded by the clamp alone."""
    return _clamped(similarity).log().mean()


def _clamped(similarity: Tensor) -> Tensor:
    # In half precision the upper end would round to 1.
    return similarity.float().clamp(CLAMP, 1 - CLAMP)
