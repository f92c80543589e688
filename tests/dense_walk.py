"""The random walk as the paper writes it, with dense matrices: what the stencil form must reproduce."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.ops.affinity import edge_to_affinity, search_geometry


def dense_affinity(edge: Tensor, radius: int) -> Tensor:
    """Symmetric affinity matrix (n, n) of an edge map (h, w), 1 on the diagonal, 0 beyond the radius."""
    (height, width), geometry = edge.shape, search_geometry(radius)
    padded = F.pad(edge[None], (geometry.reach, geometry.reach, 0, geometry.reach), value=1.0)
    planes = edge_to_affinity(padded, radius)[0]
    matrix = torch.eye(height * width, dtype=edge.dtype)
    for (dy, dx), plane in zip(geometry.destinations, planes):
        for y in range(height):
            for x in range(width):
                if y + dy < height and 0 <= x + dx < width:
                    source, destination = y * width + x, (y + dy) * width + x + dx
                    matrix[source, destination] = matrix[destination, source] = plane[y, x]
    return matrix


def dense_transition(edge: Tensor, radius: int, beta: float) -> Tensor:
    """Affinity to the power beta, every column divided by its sum: (n, n)."""
    matrix = dense_affinity(edge, radius).pow(beta)
    return matrix / matrix.sum(dim=0, keepdim=True)


def dense_power(matrix: Tensor, exp_times: int) -> Tensor:
    """The matrix to the power 2^exp_times by repeated squaring."""
    for _ in range(exp_times):
        matrix = matrix @ matrix
    return matrix


def dense_random_walk(cam: Tensor, edge: Tensor, radius: int, beta: float, exp_times: int) -> Tensor:
    """Seeds cam * (1 - edge), (K, h, w), times the transition to the power 2^exp_times."""
    power = dense_power(dense_transition(edge, radius, beta), exp_times)
    return ((cam * (1 - edge)).flatten(1) @ power).view_as(cam)
