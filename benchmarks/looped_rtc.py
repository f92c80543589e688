"""Prototypes, compensation and contrasts of RTC and PPC as their specification words them: in loops.

Source: spec `rtc`, sections 5.5, 5.6 and 8.2. Class by class, as the releases do it; what is the same for all
classes is computed once. The pixels of a contrast within a view are drawn class by class, too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def rows(maps: Tensor) -> Tensor:
    """(n, D, h, w) to (n * h * w, D)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def prototypes_and_compensation(cam: Tensor, features: Tensor, present: Tensor) -> Pair:
    """Prototypes (K, D) and compensated CAM (n, K, h, w) of a view, class by class.

    Args:
        cam: (n, K, h, w), stretched.
        features: (n, D, h, w) of the other view.
        present: (K,) bool.
    """
    vectors, count = rows(features.detach()), cam.shape[2] * cam.shape[3] // 8
    unit = F.normalize(vectors)
    table, compensated = [], cam.clone()
    for c in range(cam.shape[1]):
        values = cam[:, c].flatten()
        # The background's values are all equal, and the first of them are taken.
        chosen = values.topk(count).indices if c else torch.arange(count, device=values.device)
        weights = values[chosen]
        mean = (weights[:, None] * vectors[chosen]).sum(0) / weights.sum()
        table.append(F.normalize(mean[None])[0])
        if present[c]:
            attention = (unit @ unit[chosen].T).softmax(1)
            compensated[:, c] += (attention @ weights).view(cam[:, c].shape)
    return torch.stack(table), compensated


def information(pixels: Tensor, labels: Tensor, table: Tensor, temperature: float) -> Tensor:
    """Mean over unit pixels (n * h * w, D) of -log(exp(p * P[l]) / sum of exp(p * P[c])), class by class."""
    targets = labels.flatten()
    total = pixels.new_zeros(())
    for c in range(len(table)):
        mine = pixels[targets == c]
        if len(mine):
            exponents = (mine @ table.T / temperature).exp()
            total = total - (exponents[:, c] / exponents.sum(1)).log().sum()
    return total / len(pixels)


def contrasts(
    features: Pair, cams: Pair, labels: Pair, present: Tensor, temperature: float
) -> tuple[Tensor, Pair]:
    """RTC's three contrastive terms, summed, and the compensated CAMs of both views."""
    first, compensated_first = prototypes_and_compensation(cams[0], features[1], present)
    second, compensated_second = prototypes_and_compensation(cams[1], features[0], present)
    pairs = (
        ((0, labels[0], first), (1, labels[1], second)),
        ((0, labels[1], first), (1, labels[0], second)),
        ((0, labels[0], second), (1, labels[1], first)),
    )
    unit = tuple(F.normalize(rows(maps)) for maps in features)
    total = features[0].new_zeros(())
    for both in pairs:
        for view, label, table in both:
            total = total + 0.1 * information(unit[view], label, table, temperature) / 2
    return total, (compensated_first, compensated_second)


def mined(
    features: Tensor,
    labels: Tensor,
    table: Tensor,
    priority: Tensor,
    temperature: float,
    hard: tuple[int, int],
) -> Tensor:
    """PPC's contrast within a view, class by class and pixel by pixel."""
    pixels, targets, order = F.normalize(rows(features)), labels.flatten(), priority.flatten()
    total, classes = pixels.new_zeros(()), 0
    for c in range(len(table)):
        mine = (targets == c).nonzero().flatten().tolist()
        classes += bool(mine)
        if len(mine) < 2:
            continue
        similarity = {i: float((pixels[i] @ table[c]).detach()) for i in mine}
        chosen = sorted(mine, key=lambda i: float(order[i]))[: len(mine) // 2]
        ascending = sorted(mine, key=lambda i, known=similarity: known[i])[: int(0.6 * len(mine))]
        terms = []
        for i in chosen + ascending[-(len(mine) // 2) :]:
            scores = pixels[i] @ table.T / temperature
            negatives = scores.sort(descending=True).values[hard[0] : hard[1]]
            terms.append(-(scores[c].exp() / (scores[c].exp() + negatives.exp().sum())).log())
        total = total + torch.stack(terms).mean()
    return total / classes
