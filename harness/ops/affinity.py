"""Pairs of nearby positions: search geometry, pair labels, and affinity from an edge map.

Source: Ahn, Cho, Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations",
CVPR 2019, section 4, and the spec of the released code, B.3, B.4 and B.6.

A *pair* joins a source position to the destination `source + (dy, dx)`; only half of the plane is listed
because pairs have no direction. Everything here is written with shifted slices of the whole map, one slice
per path point, instead of a gather of every path point of every source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

Offset = tuple[int, int]


@dataclass(frozen=True)
class SearchGeometry:
    """The pairs within a radius, in the one order used for affinities, labels and displacement targets.

    Attributes:
        radius: search radius in grid cells; offsets are shorter than it.
        paths: per pair its path: offsets (dy, dx) from the destination (first) to the source (0, 0) (last).
    """

    radius: int
    paths: tuple[tuple[Offset, ...], ...]

    @property
    def reach(self) -> int:
        """Largest |dy| and |dx| of a destination: a source is this far from the left, right and bottom."""
        return self.radius - 1

    @property
    def destinations(self) -> tuple[Offset, ...]:
        """Offset (dy, dx) of each pair."""
        return tuple(path[0] for path in self.paths)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of sources on a map of `height` x `width`.

        Raises:
            ValueError: the map is too small to hold a source.
        """
        rows, columns = height - self.reach, width - 2 * self.reach
        if rows < 1 or columns < 1:
            raise ValueError(f"no pairs of radius {self.radius} fit into a map of {height} x {width}")
        return rows, columns

    def window(self, field: Tensor, offset: Offset) -> Tensor:
        """The view of `field` (..., h, w) that lies `offset` away from the sources: (..., rows, columns)."""
        rows, columns = self.grid(field.shape[-2], field.shape[-1])
        top, left = offset[0], self.reach + offset[1]
        return field[..., top : top + rows, left : left + columns]


def _path(dy: int, dx: int) -> tuple[Offset, ...]:
    """Integer points closer than 1 to the segment (0, 0) to (dy, dx), the farthest from (0, 0) first."""
    squared_length = dy * dy + dx * dx
    points = [
        (y, x)
        for y in range(min(0, dy), max(0, dy) + 1)
        for x in range(min(0, dx), max(0, dx) + 1)
        if (dy * x - dx * y) ** 2 < squared_length
    ]
    return tuple(sorted(points, key=lambda point: -(abs(point[0]) + abs(point[1]))))


@cache
def search_geometry(radius: int) -> SearchGeometry:
    """Pairs and paths of a radius (spec B.3): 34 pairs for radius 5, 152 pairs and 2134 points for 10.

    Raises:
        ValueError: the radius is smaller than 2, so that there is no pair.
    """
    if radius < 2:
        raise ValueError(f"a search radius of {radius} contains no pair; it must be at least 2")
    offsets = [(0, dx) for dx in range(1, radius)]
    offsets += [
        (dy, dx)
        for dy in range(1, radius)
        for dx in range(1 - radius, radius)
        if dy * dy + dx * dx < radius * radius
    ]
    return SearchGeometry(radius, tuple(sorted((_path(*offset) for offset in offsets), key=len)))


def pair_labels(label: Tensor, radius: int, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs join equal background, equal foreground, and different classes (spec B.4).

    Args:
        label: (N, h, w) integer class map, 0 background; values of `num_classes` and more are ignored.
        radius: search radius.
        num_classes: number of classes, background included.

    Returns:
        Background-positive, foreground-positive and negative pairs, each (N, pairs, rows, columns) bool.
    """
    geometry = search_geometry(radius)
    known = (label >= 0) & (label < num_classes)

    def destinations(field: Tensor) -> Tensor:
        return torch.stack([geometry.window(field, offset) for offset in geometry.destinations], dim=1)

    source = geometry.window(label, (0, 0)).unsqueeze(1)
    valid = geometry.window(known, (0, 0)).unsqueeze(1) & destinations(known)
    equal = source == destinations(label)
    return valid & equal & (source == 0), valid & equal & (source > 0), valid & ~equal


class _PathMaximum(torch.autograd.Function):
    """Maximum over each path; keeps one byte per pair (which point won) for the backward pass."""

    @staticmethod
    def forward(ctx: Any, edge: Tensor, radius: int) -> Tensor:
        geometry = search_geometry(radius)
        size = (edge.shape[0], len(geometry.paths), *geometry.grid(*edge.shape[-2:]))
        maximum = edge.new_empty(size)
        winner = torch.zeros(size, dtype=torch.uint8, device=edge.device)
        for pair, path in enumerate(geometry.paths):
            best, index = maximum[:, pair], winner[:, pair]
            best.copy_(geometry.window(edge, path[0]))
            for point, offset in enumerate(path[1:], start=1):
                candidate = geometry.window(edge, offset)
                index.masked_fill_(candidate > best, point)
                torch.maximum(best, candidate, out=best)
        ctx.save_for_backward(winner)
        ctx.radius, ctx.shape = radius, edge.shape
        return maximum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Shifted additions instead of a scatter: the order of the sums, and so the result, is fixed on a GPU.
        (winner,) = ctx.saved_tensors
        (gradient,) = gradients
        geometry = search_geometry(ctx.radius)
        total = gradient.new_zeros(ctx.shape)
        for pair, path in enumerate(geometry.paths):
            for point, offset in enumerate(path):
                won = winner[:, pair] == point
                geometry.window(total, offset).addcmul_(gradient[:, pair], won.to(gradient.dtype))
        return total, None


class _Destinations(torch.autograd.Function):
    """Values at the destination of each pair; the backward pass adds into one map, pair after pair."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, radius: int) -> Tensor:
        geometry = search_geometry(radius)
        ctx.radius, ctx.shape = radius, field.shape
        return torch.stack([geometry.window(field, offset) for offset in geometry.destinations], dim=-3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        geometry = search_geometry(ctx.radius)
        total = gradient.new_zeros(ctx.shape)
        for pair, offset in enumerate(geometry.destinations):
            geometry.window(total, offset).add_(gradient[..., pair, :, :])
        return total, None


def edge_to_affinity(edge: Tensor, radius: int) -> Tensor:
    """Affinity of each pair: 1 - the largest edge value on its path (spec B.6), differentiable.

    Args:
        edge: (N, h, w) edge probability.
        radius: search radius.

    Returns:
        (N, pairs, rows, columns), with rows = h - (radius - 1) and columns = w - 2 (radius - 1).

    Raises:
        ValueError: the map is too small for the radius.
    """
    if torch.is_grad_enabled() and edge.requires_grad:
        return 1 - _PathMaximum.apply(edge, radius)
    geometry = search_geometry(radius)
    affinity = edge.new_empty(edge.shape[0], len(geometry.paths), *geometry.grid(*edge.shape[-2:]))
    for pair, path in enumerate(geometry.paths):
        best = affinity[:, pair]
        best.copy_(geometry.window(edge, path[0]))
        for offset in path[1:]:
            torch.maximum(best, geometry.window(edge, offset), out=best)
    return affinity.neg_().add_(1)


def pair_displacement(displacement: Tensor, radius: int) -> Tensor:
    """Difference of a field between source and destination of each pair (spec B.6), differentiable.

    Args:
        displacement: (N, 2, h, w) displacement field (dy, dx) in grid cells.
        radius: search radius.

    Returns:
        (N, 2, pairs, rows, columns): value at the source - value at the destination.
    """
    source = search_geometry(radius).window(displacement, (0, 0)).unsqueeze(-3)
    return source - _Destinations.apply(displacement, radius)


def displacement_target(radius: int, device: torch.device | str = "cpu") -> Tensor:
    """The offset (dy, dx) of each pair: (2, pairs) float32."""
    return torch.tensor(search_geometry(radius).destinations, dtype=torch.float32, device=device).T
