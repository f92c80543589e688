"""The three contrastive terms of HSC: between regions, classes and pixels.

Source: Wu, Li, Dai, Li, Liu, Xie, "Hierarchical Semantic Contrast for Weakly Supervised Semantic
Segmentation", IJCAI 2023, sections 3.2 to 3.4, as released (spec `hsc`, sections 5.4 to 5.7). Background is
the last channel; all terms look at the whole batch. Banks are plain tensors: every function returns new ones.

In the shapes, n is the batch, S = h * w the pixels of a map, K the classes with background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.modules.equivariance import EPS
from methods.modules.prototypes import top_positions

Pair = tuple[Tensor, Tensor]  # one of each view
TopPositions = Callable[[Tensor, int], Tensor]

WEIGHT = 0.1  # of each term in the total loss


class Term(NamedTuple):
    """A term of the loss and the banks after it."""

    loss: Tensor
    banks: Pair


def normalise_cam(refined: Tensor, background_score: float) -> Tensor:
    """Stretch every channel of (n, K, h, w) refined CAMs; a dead channel becomes -1, as released.

    The background channel, the last, is set to `background_score`.
    """
    maps = F.relu(refined)
    high = maps.amax((2, 3), keepdim=True)
    low = maps.amin((2, 3), keepdim=True)
    maps = torch.where(maps < low + EPS, 0.0, maps)
    maps = (maps - low - EPS) / (high - low + EPS)
    maps[:, -1] = background_score
    return maps


def pseudo_labels(cam: Tensor, labels: Tensor) -> Tensor:
    """(n, h, w) int64: the best present class per pixel, or background (K - 1).

    Args:
        cam: (n, K, h, w) of `normalise_cam`.
        labels: (n, K) multi-hot, background set.
    """
    return (cam * labels[:, :, None, None]).softmax(1).argmax(1)


def cosine_repulsion(first: Tensor, second: Tensor) -> Tensor:
    """Mean of -ln(1 - cosine) over all pairs of (n, D) and (m, D) vectors; a scalar."""
    cosine = F.normalize(first) @ F.normalize(second).T
    return -(1 - cosine.clamp(0.0005, 0.9995)).log().mean()


def _regions(features: Tensor, labels: Tensor, background: int, norm_dim: int) -> Pair:
    """(n, D) unit vectors of the background and of the foreground of each image."""
    features = F.normalize(features, dim=norm_dim)
    behind = (labels == background).to(features.dtype)[:, None]
    return tuple(
        F.normalize((features * mask).sum((2, 3)) / (mask.sum((2, 3)) + EPS), eps=EPS)
        for mask in (behind, 1 - behind)
    )


def roi_contrast(
    features: Pair, labels: Pair, banks: Pair, *, background: int, ema: float = 0.5, norm_dim: int = 3
) -> Term:
    """Push the foreground and background of a batch apart, and pull each to its prototype (section 3.2).

    Args:
        features: (n, D, h, w) of both views.
        labels: (n, h, w) pseudo labels of both views.
        banks: (2, D) prototypes of both views: background, foreground.
        background: the background's label.
        ema: part of the old bank in the new one.
        norm_dim: dimension along which features get unit length. The release normalises the width axis (3);
            channels (1) are what the paper's formula says.
    """
    (behind_1, front_1), (behind_2, front_2) = (
        _regions(maps, label, background, norm_dim) for maps, label in zip(features, labels, strict=True)
    )
    intra = (cosine_repulsion(behind_1, front_1) + cosine_repulsion(behind_2, front_2)) / 2
    cross = (cosine_repulsion(behind_1, front_2) + cosine_repulsion(behind_2, front_1)) / 2
    pull = sum(
        ((bank[1] - front).abs().mean() + (bank[0] - behind).abs().mean()) / 2
        for bank, front, behind in zip(banks, (front_1, front_2), (behind_1, behind_2), strict=True)
    )
    with torch.no_grad():
        seen = (
            torch.stack([behind_1.mean(0), front_1.mean(0)]),
            torch.stack([behind_2.mean(0), front_2.mean(0)]),
        )
        updated = tuple((1 - ema) * new + ema * old for new, old in zip(seen, banks, strict=True))
    return Term(WEIGHT * (intra + cross + pull), updated)


def _gather(features: Tensor, positions: Tensor) -> Tensor:
    """Vectors (C, k, D) of maps (n, D, h, w) at positions (C, k) counted over batch, row, column."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)[positions]


def _over_batch(maps: Tensor) -> Tensor:
    """(n, C, h, w) to (C, n * S)."""
    return maps.permute(1, 0, 2, 3).flatten(1)


def class_contrast(
    features: Pair,
    cams: Pair,
    labels: Tensor,
    banks: Pair,
    *,
    ema: float = 0.5,
    temperature: float = 0.1,
    top_loss: int = 128,
    top_update: int = 16,
) -> Term:
    """Contrast the mean feature of each present class with the prototypes of all classes (section 3.3).

    The release goes through the classes one by one and updates a class's prototype before the next one. Here
    all classes go at once, each against the banks as they were at its turn.

    Args:
        features: (n, D, h, w) of both views.
        cams: (n, K, h, w) of `normalise_cam`, both views.
        labels: (n, K) multi-hot, background set.
        banks: (K, D) prototypes of both views.
        ema: part of the old prototype in the new one.
        temperature: of the cosine similarities.
        top_loss: pixels of the batch that stand for a class.
        top_update: the best of them, which update its prototype.
    """
    present = labels[:, :-1].amax(0).nonzero().flatten()
    means, updates = [], []
    for maps, cam in zip(features, cams, strict=True):
        with torch.no_grad():
            scores = (cam * labels[:, :, None, None]).softmax(1)[:, :-1]
            scores = _over_batch(scores)[present]
            positions = top_positions(scores, top_loss)
            weights = scores.gather(1, positions)
        weighted = _gather(maps, positions) * weights[..., None]
        means.append(F.normalize(weighted.sum(1) / weights.sum(1, keepdim=True)))
        updates.append(F.normalize(weighted[:, :top_update].detach().sum(1)))
    new_rows = [(1 - ema) * new + ema * bank[present] for new, bank in zip(updates, banks, strict=True)]
    at_turn = [_banks_at_turn(bank, rows, present) for bank, rows in zip(banks, new_rows, strict=True)]
    total = sum(
        _cross_entropy_sum(mean, bank, present, temperature)
        for mean in means
        for bank in at_turn  # of the same view ("own") and of the other one ("mutual")
    )
    updated = tuple(bank.index_copy(0, present, rows) for bank, rows in zip(banks, new_rows, strict=True))
    return Term(WEIGHT * total / (max(len(present), 1) * 4), updated)


def _banks_at_turn(bank: Tensor, rows: Tensor, present: Tensor) -> Tensor:
    """(P, K, D): the bank (K, D) that each present class meets, with the new rows of those before it."""
    turn = torch.full((bank.shape[0],), len(present), device=bank.device)
    turn[present] = torch.arange(len(present), device=bank.device)
    after = bank.index_copy(0, present, rows)
    is_new = turn[None] < torch.arange(len(present), device=bank.device)[:, None]
    return torch.where(is_new[..., None], after, bank)


def _cross_entropy_sum(mean: Tensor, banks: Tensor, present: Tensor, temperature: float) -> Tensor:
    cosine = F.cosine_similarity(mean[:, None], banks, dim=-1)
    return F.cross_entropy(cosine / temperature, present, reduction="sum")


def pixel_prototypes(features: Tensor, cam: Tensor, positions: Tensor) -> Tensor:
    """(K, D) unit prototypes: means of features (n, D, h, w) at positions (K, k), weighted by the CAM."""
    with torch.no_grad():
        weights = _over_batch(cam).gather(1, positions)
        mean = (_gather(features, positions) * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        return F.normalize(mean)


def _with_labelled_background(prototypes: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """Prototypes (K, D) whose last row is the unit mean of features (n, D, h, w) labelled background.

    Where no pixel is, the row stays.
    """
    behind = labels.flatten() == len(prototypes) - 1
    pixels = features.detach().permute(0, 2, 3, 1).flatten(0, 2)
    mean = F.normalize((pixels * behind[:, None]).sum(0), dim=0)
    rows = prototypes.clone()
    rows[-1] = torch.where(behind.any(), mean, prototypes[-1])
    return rows


def pixel_contrast(
    features: Pair,
    cams: Pair,
    labels: Pair,
    banks: Pair,
    *,
    ema: float = 0.5,
    temperature: float = 0.1,
    top: TopPositions = top_positions,
    masked_background: bool = False,
) -> Term:
    """Contrast every pixel with prototypes of its own view, of the other view, and of the past (section 3.4).

    Args:
        features: (n, D, h, w) of both views, not negative.
        cams: (n, K, h, w) of `normalise_cam`, both views.
        labels: (n, h, w) pseudo labels of both views.
        banks: (K, D) prototypes of both views.
        ema: part of the old prototype in the new one.
        temperature: of the similarities.
        top: chooses the pixels that make a prototype; a sixteenth of a map per class, over the batch.
        masked_background: make the background's prototype of the pixels with its pseudo label. The release
            takes the best pixels of a constant map, which are any.
    """
    count = cams[0].shape[2] * cams[0].shape[3] // 16
    prototypes = [
        pixel_prototypes(maps, cam, top(_over_batch(cam), count))
        for maps, cam in zip(features, cams, strict=True)
    ]
    if masked_background:
        prototypes = [
            _with_labelled_background(rows, maps, label)
            for rows, maps, label in zip(prototypes, features, labels, strict=True)
        ]
    loss = torch.zeros((), device=features[0].device)
    for view in (0, 1):
        other = 1 - view
        logits = _log_probabilities(
            features[view], (prototypes[view], prototypes[other], banks[view]), temperature
        )
        own, across, past = logits
        mine, theirs = labels[view].flatten(), labels[other].flatten()
        parts = ((across, mine), (own, theirs), (own, mine), (past, mine))
        loss = loss + sum(F.nll_loss(log_probability, target) for log_probability, target in parts) / 2
    updated = tuple((1 - ema) * new + ema * old for new, old in zip(prototypes, banks, strict=True))
    return Term(WEIGHT * loss, updated)


def _log_probabilities(features: Tensor, prototypes: tuple[Tensor, ...], temperature: float) -> list[Tensor]:
    """Per set of prototypes (K, D), (n * S, K) log-probabilities of all pixels; one product for all sets."""
    pixels = F.normalize(features.permute(0, 2, 3, 1).flatten(0, 2))
    similarity = pixels @ torch.cat(prototypes).T / temperature
    return [part.log_softmax(1) for part in similarity.split([len(rows) for rows in prototypes], dim=1)]
