"""High-dimensional Gaussian filtering on a permutohedral lattice.

The filter sums over all points with weights exp(-|f_i - f_j|^2 / 2) of their features, approximately and in
linear time: values are splatted onto the corners of the simplices of a lattice, blurred along its d + 1 axes,
and sliced back. All steps are linear, so the filter is a product of sparse matrices that are built once:

    A = alpha * slice * blur_d * ... * blur_0 * splat,  splat = slice^T,  alpha = 1 / (1 + 2^-d).

Each blur is symmetric, but the blurs of different axes do not commute where vertices are missing. So the
transpose of A is A with the axes in reverse order; the gradient uses it.

Sources: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
Eurographics 2010, in the version of Kraehenbuehl and Koltun, NIPS 2011; step by step in mcc spec section 4.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.ops.sparse_rows import SparseRows

_MAX_KEY = 2**62
_COLUMNS = 32
_FIELD_BYTES = 24 * 2**20
"""Bounds of the values that go through together, so that memory for 81 labels is bounded. On a CPU, blocks of
32 MiB and more are fetched from the system at every step, which takes longer than the filter
(benchmarks/results/two-cpu-cores.md)."""


@dataclass(frozen=True)
class PermutohedralLattice:
    """The lattice of N points of one or several images, ready to filter any number of values.

    Attributes:
        slice: (N, M) barycentric weights of the points on the M vertices, d + 1 for each point.
        splat: (M, N), its transpose.
        blurs: d + 1 matrices (M, M), one for each axis in order.
    """

    slice: SparseRows
    splat: SparseRows
    blurs: tuple[SparseRows, ...]

    @property
    def points(self) -> int:
        """N, the number of points."""
        return self.slice.shape[0]

    @property
    def vertices(self) -> int:
        """M, the number of vertices that some point touches."""
        return self.slice.shape[1]

    @property
    def alpha(self) -> float:
        """Scale that makes up for the weight of the blur."""
        return 1 / (1 + 2.0 ** (1 - len(self.blurs)))

    def filter(self, values: Tensor) -> Tensor:
        """Sum of `values` over all points of the same image, weighted by the similarity of features.

        Args:
            values: (N, K) of the features' type; a gradient passes to them.

        Returns:
            (N, K).
        """
        return linear_filter(values, self)

    def apply(self, values: Tensor, transpose: bool = False) -> Tensor:
        """`filter` without a gradient, or the product of the transpose, whose axes go backwards."""
        parts = self.parts(values.shape[1], values.element_size())
        if len(parts) == 1:
            return self.apply_part(values.contiguous(), transpose)
        result = torch.empty_like(values)
        for start, stop in parts:
            result[:, start:stop] = self.apply_part(values[:, start:stop].contiguous(), transpose)
        return result

    def parts(self, columns: int, item_bytes: int = 4) -> list[tuple[int, int]]:
        """First and end of the values, of `columns`, that go through together, about equally many."""
        room = _COLUMNS
        if self.slice.values.device.type == "cpu":
            room = min(room, max(_FIELD_BYTES // (item_bytes * self.vertices), 1))
        count = max(-(-columns // room), 1)
        bounds = [columns * part // count for part in range(count + 1)]
        return list(pairwise(bounds))

    def apply_part(self, values: Tensor, transpose: bool = False) -> Tensor:
        """`apply` on contiguous values of one of the `parts`."""
        field = self.splat @ values
        for blur in reversed(self.blurs) if transpose else self.blurs:
            field = blur @ field
        return (self.slice @ field).mul_(self.alpha)

    def scaled(self, weights: Tensor) -> PermutohedralLattice:
        """The lattice of diag(weights) * A * diag(weights): weights (N,) go into slice and splat."""
        return PermutohedralLattice(
            self.slice.scaled_rows(weights), self.splat.scaled_columns(weights), self.blurs
        )


def build_lattice(features: Tensor, image: Tensor | None = None) -> PermutohedralLattice:
    """Lattice of points.

    Args:
        features: (N, d) float, in units of the standard deviation of the Gaussian.
        image: (N,) int64 number of the point's image from 0; points of two images do not see each other.

    Returns:
        The lattice on the features' device.

    Raises:
        ValueError: features are not finite, or so spread that a vertex has no number of 62 bits.
    """
    if not torch.isfinite(features).all():
        raise ValueError("features of a permutohedral lattice must be finite")
    remainder, rank, weights = _simplices(features.t().contiguous())
    keys, steps = _packed_keys(remainder, rank, image)
    vertex, order, first = _numbered(keys)
    count = len(first)
    size, corners = len(features), len(rank)
    # Entries are numbered point by point within a corner, so that sorted entries are the rows of the splat.
    slice_ = SparseRows.regular(vertex.reshape(corners, size).t(), weights.t(), columns=count)
    splat = SparseRows(
        starts=torch.cat([first, first.new_tensor([order.numel()])]).int(),
        indices=(order % size).int(),
        values=weights.reshape(-1)[order],
        columns=size,
    )
    unique = keys.reshape(-1)[order[first]]
    blurs = tuple(_blur(unique, step, features.dtype) for step in steps)
    return PermutohedralLattice(slice_, splat, blurs)


def _simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Simplex of each point: steps 1 to 3 of mcc spec section 4.4.

    Args:
        features: (d, N).

    Returns:
        The remainder-0 vertex (d + 1, N) int64, each coordinate's rank (d + 1, N) int64, and barycentric
        weights (d + 1, N) of the vertices with remainder 0 to d.
    """
    elevated = _elevated(features)
    corners = len(elevated)
    d = corners - 1
    quotient = torch.round(elevated / corners)
    nearest, total = quotient * corners, quotient.sum(0).long()
    offset = elevated - nearest
    rank = total.repeat(corners, 1)
    for i in range(d):
        later = offset[i] < offset[i + 1 :]
        rank[i] += later.sum(0)
        rank[i + 1 :] += ~later
    wrap = (rank < 0).long() - (rank > d).long()
    rank += wrap * corners
    vertex = nearest.long() + wrap * corners
    inside = (elevated - vertex) / corners
    sorted_inside = torch.empty_like(inside).scatter_(0, rank, inside)
    weights = torch.empty_like(inside)
    weights[0] = 1 + sorted_inside[d] - sorted_inside[0]
    weights[1:] = (sorted_inside[:-1] - sorted_inside[1:]).flip(0)
    return vertex, rank, weights


def _elevated(features: Tensor) -> Tensor:
    """Features (d, N) on the hyperplane of the lattice: (d + 1, N), which sums to 0 over the first axis."""
    d = len(features)
    axis = torch.arange(d, dtype=features.dtype, device=features.device).unsqueeze(1)
    scaled = features * (math.sqrt(2 / 3) * (d + 1)) / ((axis + 1) * (axis + 2)).sqrt()
    elevated = torch.zeros(d + 1, features.shape[1], dtype=features.dtype, device=features.device)
    elevated[:d] = scaled.flip(0).cumsum(0).flip(0)
    elevated[1:] -= scaled * (axis + 1)
    return elevated


def _packed_keys(vertex: Tensor, rank: Tensor, image: Tensor | None) -> tuple[Tensor, list[int]]:
    """One number for each vertex that a point touches, and what each blur axis adds to it (steps 4 and 6).

    The last coordinate follows from the others. Coordinates are counted from their minimum, in a box with
    room for the neighbours, so that a sum of numbers is the number of the sum.

    Args:
        vertex: (d + 1, N) int64 remainder-0 vertices.
        rank: (d + 1, N) int64.
        image: (N,) int64 or None.

    Returns:
        (d + 1, N) int64 keys of the vertices with remainder 0 to d, and d + 1 steps.
    """
    corners = len(vertex)
    d = corners - 1
    low = vertex[:d].amin(1) - 2 * corners
    spans = (vertex[:d].amax(1) + 2 * corners + 1 - low).tolist()
    strides = [math.prod(spans[axis + 1 :]) for axis in range(d)]
    box = math.prod(spans)
    if box * (1 if image is None else int(image.max()) + 1) > _MAX_KEY:
        raise ValueError("features of a permutohedral lattice are too far apart: scale them to the Gaussian")
    stride = torch.tensor([*strides, 0], device=vertex.device)
    base = ((vertex[:d] - low[:, None]) * stride[:d, None]).sum(0)
    if image is not None:
        base += image * box
    by_rank = torch.empty_like(rank).scatter_(0, rank, stride[:, None].expand_as(rank).contiguous())
    # From corner to corner all coordinates grow by 1, but that of the highest remaining rank wraps.
    steps = sum(strides) - corners * by_rank[1:].flip(0)
    keys = torch.cat([base[None], steps]).cumsum_(0)
    return keys, [corners * along - sum(strides) for along in (*strides, 0)]


def _numbered(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number the distinct keys in ascending order.

    Args:
        keys: of any shape, E in all.

    Returns:
        (E,) number of each entry's key; (E,) entries sorted by key, of equal keys the earlier entry first;
        (M,) position in them at which each key begins.
    """
    ordered, order = torch.sort(keys.reshape(-1), stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
    number = torch.empty_like(order)
    number[order] = begins.cumsum(0) - 1
    return number, order, begins.nonzero().squeeze(1)


def _blur(keys: Tensor, step: int, dtype: torch.dtype) -> SparseRows:
    """Blur along an axis: a vertex, and half of its two neighbours where they exist (step 6)."""
    count = len(keys)
    wanted = keys + step
    above = torch.searchsorted(keys, wanted, out_int32=True).clamp_(max=count - 1)
    lower = (keys.index_select(0, above) == wanted).nonzero().squeeze(1)
    upper = above[lower]
    # A neighbour that does not exist is the vertex itself with weight 0, so that all rows are equally long.
    indices = torch.arange(count, device=keys.device, dtype=torch.int32).unsqueeze(1).repeat(1, 3)
    values = torch.zeros(count, 3, device=keys.device, dtype=dtype)
    values[:, 1] = 1
    indices[lower, 2], values[lower, 2] = upper, 0.5
    indices[upper, 0], values[upper, 0] = lower.int(), 0.5
    return SparseRows.regular(indices, values, columns=count)


class LinearMap(Protocol):
    """A linear map of values (N, K) that knows its transpose."""

    def apply(self, values: Tensor, transpose: bool = False) -> Tensor:
        """Product with the map, or with its transpose."""
        ...


def linear_filter(values: Tensor, linear: LinearMap) -> Tensor:
    """`linear.apply(values)` as a step of which any derivative can be taken."""
    return _Apply.apply(values, linear, False)  # type: ignore[no-any-return, no-untyped-call]


class _Apply(torch.autograd.Function):
    """A linear map; its backward is the transposed one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, linear: LinearMap, transpose: bool) -> Tensor:
        ctx.linear, ctx.transpose = linear, transpose
        return linear.apply(values, transpose)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _Apply.apply(grad, ctx.linear, not ctx.transpose), None, None  # type: ignore[no-untyped-call]
