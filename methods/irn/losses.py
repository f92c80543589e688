"""Losses of IRNet (CVPR 2019, sections 4.2 and 4.3; spec B.6).

Their denominators count pairs over the whole batch, on all devices. Data-parallel training averages gradients
over devices, so with W devices each loss is W x its local sum over the global count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.ops.affinity import displacement_target, edge_to_affinity, pair_displacement, pair_labels
from methods.modules.pair_losses import EPSILON, mean_over_pairs


@dataclass(frozen=True)
class IRNetLosses:
    """The loss terms, scalars.

    Attributes:
        background_positive, foreground_positive: affinity of pairs of equal class should be 1.
        negative: affinity of pairs of different classes should be 0.
        displacement_foreground: displacements of a foreground pair should differ by the pair's offset.
        displacement_background: displacements of a background pair should be equal.
    """

    background_positive: Tensor
    foreground_positive: Tensor
    negative: Tensor
    displacement_foreground: Tensor
    displacement_background: Tensor

    @property
    def positive(self) -> Tensor:
        return self.background_positive / 2 + self.foreground_positive / 2

    @property
    def affinity(self) -> Tensor:
        return (self.positive + self.negative) / 2

    @property
    def displacement(self) -> Tensor:
        return (self.displacement_foreground + self.displacement_background) / 2

    @property
    def total(self) -> Tensor:
        return self.affinity + self.displacement


def affinity_terms(edge_logit: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Loss of each pair if it were positive, and if it were negative.

    Args:
        edge_logit: (N, 1, h, w).
        radius: search radius.

    Returns:
        -log(A + 1e-5) and -log(1 + 1e-5 - A), each (N, pairs, rows, columns), for the affinity A.
    """
    affinity = edge_to_affinity(edge_logit.squeeze(1).sigmoid(), radius)
    return -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)


def displacement_terms(displacement: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Loss of each pair if it were foreground, and if it were background.

    Args:
        displacement: (N, 2, h, w) in grid cells.
        radius: search radius.

    Returns:
        |D - offset| and |D|, each (N, 2, pairs, rows, columns), for the pair's displacement D.
    """
    difference = pair_displacement(displacement, radius)
    target = displacement_target(radius, displacement.device)[:, :, None, None]
    return (difference - target).abs(), difference.abs()


def irnet_losses(
    edge_logit: Tensor, displacement: Tensor, label: Tensor, *, radius: int, num_classes: int
) -> IRNetLosses:
    """All loss terms.

    Args:
        edge_logit: (N, 1, h, w).
        displacement: (N, 2, h, w) in grid cells.
        label: (N, h, w) confident labels on the same grid; `num_classes` and more are ignored.
        radius: search radius, 10 in the paper.
        num_classes: number of classes, background included.

    Raises:
        ValueError: the labels are on another grid than the maps, or it is too small for the radius.
    """
    if label.shape[-2:] != edge_logit.shape[-2:]:
        raise ValueError(
            f"labels are {tuple(label.shape[-2:])}, maps at stride 4 {tuple(edge_logit.shape[-2:])}: "
            "the transform must reduce the labels"
        )
    background, foreground, negative = pair_labels(label, radius, num_classes)
    if_positive, if_negative = affinity_terms(edge_logit, radius)
    if_foreground, if_background = displacement_terms(displacement, radius)
    return IRNetLosses(
        background_positive=mean_over_pairs(if_positive, background),
        foreground_positive=mean_over_pairs(if_positive, foreground),
        negative=mean_over_pairs(if_negative, negative),
        displacement_foreground=mean_over_pairs(if_foreground, foreground.unsqueeze(1)),
        displacement_background=mean_over_pairs(if_background, background.unsqueeze(1)),
    )
