"""The losses of ToCo and MCC: between patch tokens, between class tokens, and of the decoder.

Source: Ru, Zheng, Zhan, Du, "Token Contrast for Weakly-Supervised Semantic Segmentation", CVPR 2023, and Wu
et al., "Masked Collaborative Contrast for Weakly Supervised Semantic Segmentation", WACV 2024, as released
(spec `mcc`, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.palette import IGNORE

GLOBAL_VIEWS = 2
_SMALL = 1e-4  # of the contrastive loss, in both denominators


def pair_labels(labels: Tensor) -> Tensor:
    """(B, n, n) int64 of label maps (B, h, w), n = h * w: 1 for equal labels, 0 for others, 255 for no pair.

    There is no pair of a token with itself, and none where a label is 255.
    """
    flat = labels.flatten(1)
    pairs = (flat[:, :, None] == flat[:, None, :]).long()
    unknown = flat == IGNORE
    itself = torch.eye(flat.shape[1], dtype=torch.bool, device=flat.device)
    return pairs.masked_fill(unknown[:, :, None] | unknown[:, None, :] | itself, IGNORE)


def affinity_loss(features: Tensor, pairs: Tensor) -> Tensor:
    """Make patch tokens of equal labels alike and others orthogonal: |cosine|, means over the whole batch.

    Without any pair it is 1/2.

    Args:
        features: (B, D, h, w).
        pairs: (B, n, n) of `pair_labels`.
    """
    tokens = F.normalize(features.flatten(2), dim=1, eps=1e-8)
    similarity = (tokens.transpose(1, 2) @ tokens).abs()
    same, other = (pairs == 1).to(similarity.dtype), (pairs == 0).to(similarity.dtype)
    pull = 1 - (same * similarity).sum() / (same.sum() + 1)
    push = (other * similarity).sum() / (other.sum() + 1)
    return (pull + push) / 2


def token_contrast(
    student: Tensor, teacher: Tensor, positive: Tensor, *, temperature: float, extra_term: bool = True
) -> Tensor:
    """Contrast the projected class tokens of all views with the teacher's of the global views.

    Args:
        student: (V, B, D), the global views first.
        teacher: (2, B, D) of the global views.
        positive: (B, V) bool; views that show what the image is labelled with, the global ones among them.
        temperature: of the dot products.
        extra_term: add the term that the release adds once per teacher row: the `else` of a loop that is
            never left early, presumably meant for images without positives.
    """
    similarity = torch.einsum("abd,vbd->bav", teacher, student).div(temperature).exp()
    chosen = positive[:, None].to(similarity.dtype)
    negative = ((1 - chosen) * similarity).sum(-1, keepdim=True)
    terms = (chosen * -(similarity / (similarity + negative + _SMALL)).log()).sum(-1)
    if extra_term:
        terms = terms + (1 + negative[..., 0] + _SMALL).log()
    return (terms.sum(1) / len(teacher) / (positive.sum(1) + _SMALL)).mean()


class Balanced(NamedTuple):
    """The segmentation loss.

    Attributes:
        loss: 0 for a side without pixels.
        empty: how many of the two sides have no pixel, where the released loss is undefined.
    """

    loss: Tensor
    empty: Tensor


def balanced_cross_entropy(logits: Tensor, labels: Tensor) -> Balanced:
    """Mean of the cross-entropies over background and over foreground pixels, each a mean over the batch.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W) int64, 0 background, 255 ignored.
    """
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    sides = torch.stack([labels == 0, (labels != 0) & (labels != IGNORE)])
    counts = sides.sum((1, 2, 3))
    means = (sides * loss).sum((1, 2, 3)) / counts.clamp_min(1)
    return Balanced(means.mean(), (counts == 0).sum())
