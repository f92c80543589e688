"""Refinement of masks by what neighbouring pixels look like: PAR, PAMR and VARM.

All three replace a pixel's scores, again and again, by a weighted mean of its neighbours' scores on 3 x 3
rings of several dilations, and differ in the weights, which the image alone decides. So weights are computed
once per image and serve any number of masks and iterations.

Sources: PAR, Ru et al., "Learning Affinity from Attention", CVPR 2022 (mcc spec section 2.3); PAMR, Araslanov
and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, and VARM (rtc spec section 5.8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["par", "pamr", "varm"]

DILATIONS = (1, 2, 4, 8, 12, 24)
"""Dilations of the released codes."""

RING = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0))
"""The eight neighbours of a pixel, row by row."""

_EPS = 1e-8


def offsets(dilations: Sequence[int] = DILATIONS) -> list[tuple[int, int]]:
    """The P = 8 * len(dilations) neighbours as (rows, columns): by dilation, each ring row by row."""
    return [(row * step, column * step) for step in dilations for row, column in RING]


def neighbours(maps: Tensor, dilations: Sequence[int] = DILATIONS) -> Iterator[Tensor]:
    """What stands at each neighbour, the border replicated: P views (N, C, H, W), without copies.

    Args:
        maps: (N, C, H, W).
        dilations: of the rings; one may be larger than the maps.
    """
    reach, (height, width) = max(dilations), maps.shape[-2:]
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    for row, column in offsets(dilations):
        yield padded[..., reach + row : reach + row + height, reach + column : reach + column + width]


@torch.no_grad()
def par_weights(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Weights of PAR, from colour and distance; they sum to 1.01 (mcc spec section 2.3).

    Args:
        images: (N, 3, H, W) of any range.
        dilations: of the rings.

    Returns:
        (N, P, H, W).
    """
    deviation = _deviation(images, dilations).add_(_EPS).mul_(0.3)
    colour = _per_neighbour(
        images, dilations, lambda near: ((near - images) / deviation).square_().mean(1).neg_()
    )
    distances = torch.tensor([math.hypot(*offset) for offset in offsets(dilations)], device=images.device)
    distances /= (distances.std() + _EPS) * 0.3
    position = torch.softmax(-(distances**2), dim=0).to(images.dtype)
    return colour.softmax(1).add_(position.reshape(-1, 1, 1), alpha=0.01)


@torch.no_grad()
def pamr_weights(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Weights of PAMR, from colour differences in units of the local deviation; they sum to 1.

    The deviation counts the centre once per dilation (rtc spec section 5.8).

    Args:
        images: (N, 3, H, W) of any range.
        dilations: of the rings.

    Returns:
        (N, P, H, W).
    """
    scale = _deviation(images, dilations, centres=len(dilations)).mul_(0.1).add_(_EPS)
    colour = _per_neighbour(images, dilations, lambda near: ((near - images) / scale).abs_().mean(1).neg_())
    return colour.softmax(1)


@torch.no_grad()
def varm_weights(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Weights of VARM, from colour, less what lies on edges; they sum to 0.99 (rtc spec section 5.8).

    Args:
        images: (N, 3, H, W) in [0, 1]: the edge term depends on the range.
        dilations: of the rings.

    Returns:
        (N, P, H, W).
    """
    scale = _deviation(images, dilations).add_(_EPS)
    colour = _per_neighbour(
        images, dilations, lambda near: ((near - images) / scale).mul_(4).square_().mean(1).neg_()
    )
    edges = _per_neighbour(images, dilations, _edge_strength)
    return colour.softmax(1).sub_(edges.softmax(1), alpha=0.01)


@torch.no_grad()
def propagate(
    masks: Tensor, weights: Tensor, iterations: int, dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Replace scores by the weighted sum of the neighbours' scores, `iterations` times.

    Args:
        masks: (N, C, H, W); several stacks of one image go side by side in C.
        weights: (N, P, H, W) for the same images and dilations.
        iterations: 0 returns the masks.
        dilations: those of the weights.

    Returns:
        (N, C, H, W).

    Raises:
        ValueError: the weights are of other dilations.
    """
    if weights.shape[1] != 8 * len(dilations):
        given, expected = weights.shape[1], 8 * len(dilations)
        raise ValueError(f"{given} weights per pixel given for {expected} neighbours")
    for _ in range(iterations):
        total = torch.zeros_like(masks)
        for index, near in enumerate(neighbours(masks, dilations)):
            total.addcmul_(near, weights[:, index : index + 1])
        masks = total
    return masks


@dataclass(frozen=True)
class PixelAdaptive:
    """One of the three refinements with its settings. No gradient passes.

    Attributes:
        kind: whose weights.
        iterations: of the propagation.
        dilations: of the 3 x 3 rings, in pixels.
    """

    kind: Kind
    iterations: int = 10
    dilations: tuple[int, ...] = DILATIONS

    def weights(self, images: Tensor) -> Tensor:
        """(N, P, H, W) for images (N, 3, H, W), in [0, 1]."""
        functions = {"par": par_weights, "pamr": pamr_weights, "varm": varm_weights}
        return functions[self.kind](images, self.dilations)

    def refine(self, masks: Tensor, weights: Tensor) -> Tensor:
        """Masks (N, C, H, W) refined by `weights` of images of the same size."""
        return propagate(masks, weights, self.iterations, self.dilations)

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        """Masks (N, C, h, w), resized to the images (N, 3, H, W) first (bilinear, aligned corners)."""
        if masks.shape[-2:] != images.shape[-2:]:
            masks = F.interpolate(masks, size=images.shape[-2:], mode="bilinear", align_corners=True)
        return self.refine(masks, self.weights(images))


def _per_neighbour(images: Tensor, dilations: Sequence[int], term: Callable[[Tensor], Tensor]) -> Tensor:
    """`term` of each neighbour image, (N, 3, H, W) to (N, H, W), side by side: (N, P, H, W)."""
    size = (len(images), 8 * len(dilations), *images.shape[-2:])
    result = torch.empty(size, dtype=images.dtype, device=images.device)
    for index, near in enumerate(neighbours(images, dilations)):
        result[:, index] = term(near)
    return result


def _deviation(images: Tensor, dilations: Sequence[int], centres: int = 0) -> Tensor:
    """Unbiased standard deviation over a pixel's neighbours and `centres` times itself: (N, 3, H, W).

    In two passes over views: a stack of the neighbours would be P times the image.
    """
    views = list(neighbours(images, dilations))
    count = len(views) + centres
    mean = images * centres
    for near in views:
        mean += near
    mean /= count
    squares = (images - mean).square_().mul_(centres)
    for near in views:
        squares += (near - mean).square_()
    return squares.div_(count - 1).sqrt_()


def _edge_strength(near: Tensor) -> Tensor:
    """Squared steps to the next row and to the next column, mean over channels: (N, C, H, W) to (N, H, W)."""
    channels = near.shape[1]
    strength = near.new_zeros(len(near), *near.shape[-2:])
    strength[:, :-1] += (near[..., :-1, :] - near[..., 1:, :]).square_().sum(1)
    strength[:, :, :-1] += (near[..., :-1] - near[..., 1:]).square_().sum(1)
    return strength / channels
