"""The contrast within a view with hard negatives and chosen pixels (spec `rtc`, section 8.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.modules.prototypes import cosines

EASY = 0.6  # of a class's pixels, ascending by similarity, the others are no candidates for the hard half


def semi_hard(similarity: Tensor, labels: Tensor, hard: tuple[int, int]) -> Tensor:
    """(M,) -log p of the own prototype against the negatives that are similar, but not the most similar.

    The own prototype may be among these and then counts twice, as released.

    Args:
        similarity: (M, K) of pixels to prototypes, divided by the temperature.
        labels: (M,) pseudo labels.
        hard: ranks, by similarity, of the first negative and of the first one beyond.
    """
    own = similarity.gather(1, labels[:, None])
    negatives = similarity.topk(min(hard[1], similarity.shape[1]), dim=1).values[:, hard[0] :]
    return torch.cat([own, negatives], dim=1).logsumexp(1) - own[:, 0]


def rank_within_class(values: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """(M,) rank of each pixel among those of its class, ascending by (M,) values; ties in their order.

    Args:
        values: to rank by.
        labels: (M,) classes.
        counts: (K,) pixels per class.
    """
    order = values.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return ranks


def pixel_weights(similarity: Tensor, labels: Tensor, priority: Tensor, classes: int) -> Tensor:
    """(M,) weight of each pixel: the mean over classes of the mean over a class's chosen pixels.

    Of the L pixels of a class, L // 2 are chosen by priority, and L // 2 as hard ones: of the int(0.6 L) that
    are the least similar to their prototype the L // 2 most similar. A pixel may be both. A class of one
    pixel has none, and is counted all the same.

    Args:
        similarity: (M,) of the pixels to the prototypes of their labels.
        labels: (M,) pseudo labels.
        priority: (M,) numbers, the lowest of a class are chosen; random ones in training.
        classes: K.
    """
    counts = torch.bincount(labels, minlength=classes)
    half, easy = counts // 2, (counts.double() * EASY).long()
    rank = rank_within_class(similarity, labels, counts)
    hard = (rank >= (easy - half)[labels]) & (rank < easy[labels])
    chosen = rank_within_class(priority, labels, counts) < half[labels]
    share = 1 / (2 * half).clamp_min(1)
    return (hard.float() + chosen.float()) * share[labels] / (counts > 0).sum()


def mined_contrast(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    priority: Tensor,
    *,
    temperature: float,
    hard: tuple[int, int] = (3, 13),
) -> Tensor:
    """Contrast of a view's pixels with the prototypes of the same view; a scalar.

    Args:
        features: (n, D, h, w).
        labels: (n, h, w) pseudo labels.
        prototypes: (K, D) unit vectors.
        priority: (n, h, w), see `pixel_weights`.
        temperature: of the similarities.
        hard: see `semi_hard`.
    """
    targets = labels.flatten()
    similarity = cosines(features, prototypes).transpose(1, 2).flatten(0, 1) / temperature
    own = similarity.detach().gather(1, targets[:, None])[:, 0]
    weights = pixel_weights(own, targets, priority.flatten(), len(prototypes))
    return (weights * semi_hard(similarity, targets, hard)).sum()
