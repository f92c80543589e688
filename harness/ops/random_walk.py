"""Random walk of class scores over the affinities of pairs or of an edge map, as stencil steps.

Source: Ahn, Cho, Kwak, CVPR 2019, section 5, and the spec of the released code, B.8 and B.13. The released
code squares a dense n x n transition matrix T eight times to have T^256. Only x T^256 is wanted, and T has 69
entries per column, so steps on x are enough. And far fewer than 256 of them: T is similar to a symmetric
matrix with eigenvalues in [-1, 1], where t^s is, to within delta, a Chebyshev polynomial of degree about
sqrt(2 s log(2 / delta)) (Sachdeva and Vishnoi, "Faster Algorithms via Approximation Theory", 2014, theorem
3.3). For s = 256 that is 78 steps at delta = 1e-6, below the rounding of float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.ops.affinity import edge_to_affinity, search_geometry

DELTA = 1e-6
"""Largest error allowed on any eigenvalue of T^s."""


@dataclass(frozen=True)
class Transition:
    """One step of the walk on a padded, flattened map, where a shift by (dy, dx) is a shift in memory.

    Attributes:
        height, width: size of the map.
        pitch: distance in memory between rows; the gap keeps shifts from running into the next row.
        reach: largest |dy| and |dx|, the number of padding rows and columns.
        shifts: per pair, its distance in memory (positive).
        weights: (pairs, height * pitch), affinity to the power beta; 0 for pairs that leave the map.
        scale: (height * pitch,), 1 / the column sums of weights and diagonal; 0 in the padding.
    """

    height: int
    width: int
    pitch: int
    reach: int
    shifts: tuple[int, ...]
    weights: Tensor
    scale: Tensor

    @property
    def length(self) -> int:
        """Elements of the flattened map, without the padding rows at its end."""
        return self.height * self.pitch

    def flatten(self, x: Tensor) -> Tensor:
        """(K, h, w) to the padded layout (K, length + padding)."""
        gap = self.pitch - self.width
        flat = F.pad(x, (0, gap, 0, self.reach)).flatten(1)
        return F.pad(flat, (0, self.reach))

    def unflatten(self, flat: Tensor) -> Tensor:
        """The inverse of `flatten`."""
        return flat[:, : self.length].unflatten(1, (self.height, self.pitch))[..., : self.width]

    def step(self, flat: Tensor) -> Tensor:
        """One step, x T, of maps in the padded layout."""
        length = self.length
        moved = flat.clone()  # the diagonal of the affinity matrix is 1
        for shift, weight in zip(self.shifts, self.weights):
            moved[:, :length].addcmul_(flat[:, shift : shift + length], weight)
            moved[:, shift : shift + length].addcmul_(flat[:, :length], weight)
        moved[:, :length].mul_(self.scale)
        return moved


def transition(edge: Tensor, radius: int, beta: float) -> Transition:
    """The transition of an edge map: affinity^beta, 1 on the diagonal, columns summing to 1 (spec B.8.2).

    Args:
        edge: (h, w) edge probability.
        radius: search radius, 5 in the paper.
        beta: exponent of the affinities, 10 in the paper.
    """
    reach = search_geometry(radius).reach
    # Padding with edge 1 gives every pair that leaves the map the affinity 0 (also above: none points there).
    padded = F.pad(edge[None], (reach, reach, 0, reach), value=1.0)
    return _of_weights(edge_to_affinity(padded, radius)[0].pow(beta), radius)


def pair_transition(affinity: Tensor, size: tuple[int, int], radius: int, beta: float) -> Transition:
    """The transition of given affinities, as AffinityNet has them (rtc spec section 8.3).

    Args:
        affinity: (pairs, rows, columns) of sources whose pairs all lie on the map (`SearchGeometry.grid`);
            no other pair is joined.
        size: (h, w) of the map.
        radius: search radius of the pairs.
        beta: exponent of the affinities.
    """
    geometry = search_geometry(radius)
    weights = affinity.new_zeros(len(affinity), *size)
    geometry.window(weights, (0, 0)).copy_(affinity.pow(beta))
    return _of_weights(weights, radius)


def _of_weights(weights: Tensor, radius: int) -> Transition:
    """The transition of weights (pairs, h, w) of every source; 0 for pairs that are not joined."""
    geometry = search_geometry(radius)
    (height, width), reach = weights.shape[-2:], geometry.reach
    pitch = width + reach
    blank = Transition(
        height=height,
        width=width,
        pitch=pitch,
        reach=reach,
        shifts=tuple(dy * pitch + dx for dy, dx in geometry.destinations),
        weights=F.pad(weights, (0, pitch - width)).flatten(1),
        scale=weights.new_ones(height * pitch),
    )
    # W is symmetric: its column sums are W applied to ones.
    sums = blank.unflatten(blank.step(blank.flatten(weights.new_ones(1, height, width))))
    scale = F.pad(sums[0].reciprocal(), (0, pitch - width)).flatten()
    return Transition(height, width, pitch, reach, blank.shifts, blank.weights, scale)


@cache
def chebyshev_coefficients(power: int, delta: float = DELTA) -> tuple[float, ...]:
    """Coefficients c_k of t^power = sum_k c_k T_k(t) on [-1, 1], cut where the rest is below `delta`.

    The rest is bounded by the sum of its coefficients, as |T_k(t)| <= 1.
    """
    full = [0.0] * (power + 1)
    for k in range(power, -1, -2):
        full[k] = math.comb(power, (power - k) // 2) / 2**power * (1 if k == 0 else 2)
    degree, rest = power, 0.0
    while degree > 0 and rest + full[degree] < delta:
        rest += full[degree]
        degree -= 1
    return tuple(full[: degree + 1])


def propagate(x: Tensor, step: Transition, power: int) -> Tensor:
    """x T^power.

    Args:
        x: (K, h, w) float32 row vectors, one map per class.
        step: the transition T.
        power: number of steps of the walk, at least 1.
    """
    coefficients = chebyshev_coefficients(power)
    # T_k of the transition applied to x, by T_k = 2 T T_(k-1) - T_(k-2), where T_0 = x and T_1 = x T.
    before, current = step.flatten(x), step.step(step.flatten(x))
    total = coefficients[0] * before + coefficients[1] * current
    for coefficient in coefficients[2:]:
        before, current = current, step.step(current).mul_(2).sub_(before)
        total.add_(current, alpha=coefficient)
    return step.unflatten(total)


def random_walk(
    cam: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """Spread CAMs along the affinities of an edge map for 2^exp_times steps (spec B.8.2).

    Args:
        cam: (K, h, w) float32 class scores.
        edge: (h, w) float32 edge probability in [0, 1] at the same size.
        radius: pairs are shorter than this many cells.
        beta: exponent of the affinities.
        exp_times: binary logarithm of the number of steps.

    Returns:
        (K, h, w) float32: each value is a weighted mean of the seeds `cam * (1 - edge)`.
    """
    with torch.no_grad():
        return propagate(cam * (1 - edge), transition(edge, radius, beta), 2**exp_times)
