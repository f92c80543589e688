"""Mean field of a fully connected CRF in torch, on the permutohedral lattice.

The same inference as `pydensecrf`'s: a Gaussian and a bilateral kernel, each normalised on both sides by the
roots of its row sums, and Potts compatibility. Lattices are built once and filter all labels together, that
of the Gaussian depends on the size alone and is kept, and labels that cannot win get no messages
(`harness.ops.crf_losers`).

Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NIPS 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.ops.crf_losers import can_win
from harness.ops.crf_parameters import CRFParameters
from harness.ops.permutohedral import PermutohedralLattice, build_lattice

Image = npt.NDArray[np.uint8]

_TINY = 1e-20
_WIDE = 16
"""Labels from which on torch's softmax over the last axis is the faster way on a CPU."""


@dataclass(frozen=True)
class Pairwise:
    """The messages of an image: a sum of normalised kernels.

    Attributes:
        kernels: lattices, each with the roots of its weight and normalisation in slice and splat.
    """

    kernels: tuple[PermutohedralLattice, ...]

    def messages(self, marginals: Tensor) -> Tensor:
        """What the pixels tell each other: (N, K) marginals to (N, K)."""
        return self.add_messages(torch.zeros_like(marginals), marginals)

    def add_messages(self, total: Tensor, marginals: Tensor) -> Tensor:
        """Add the messages of (N, K) marginals to `total` (N, K), which is returned.

        Args:
            total: changed in place.
            marginals: not the same tensor.
        """
        largest = max(self.kernels, key=lambda kernel: kernel.vertices)
        for start, stop in largest.parts(marginals.shape[1]):
            values = marginals[:, start:stop].contiguous()
            for kernel in self.kernels:
                total[:, start:stop] += kernel.apply_part(values)
        return total


def pairwise(image: Image, parameters: CRFParameters, device: torch.device | str = "cpu") -> Pairwise:
    """The kernels of an image (H, W, 3) uint8 RGB."""
    height, width = image.shape[:2]
    smooth = _gaussian(
        height,
        width,
        parameters.gaussian_sxy,
        parameters.gaussian_compat,
        parameters.rows_first,
        torch.device(device),
    )
    place = _places(height, width, parameters.rows_first, torch.device(device)) / parameters.bilateral_sxy
    colour = torch.from_numpy(image.astype(np.float32)).to(device).reshape(-1, 3)
    lattice = build_lattice(torch.cat([place, colour / parameters.bilateral_srgb], dim=1))
    return Pairwise((smooth, _normalised(lattice, parameters.bilateral_compat)))


@lru_cache(maxsize=4)
def _gaussian(
    height: int, width: int, sxy: float, weight: float, rows_first: bool, device: torch.device
) -> PermutohedralLattice:
    """The smoothness kernel, which images of one size share."""
    return _normalised(build_lattice(_places(height, width, rows_first, device) / sxy), weight)


def _places(height: int, width: int, rows_first: bool, device: torch.device) -> Tensor:
    """Column and row of each pixel, or row and column: (H * W, 2)."""
    row, column = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    order = (row, column) if rows_first else (column, row)
    return torch.stack(order, dim=-1).reshape(-1, 2).float()


def _normalised(lattice: PermutohedralLattice, weight: float) -> PermutohedralLattice:
    """The kernel divided on both sides by the roots of its row sums, times its weight."""
    sums = lattice.apply(torch.ones(lattice.points, 1, device=lattice.slice.values.device))[:, 0]
    return lattice.scaled((sums + _TINY).rsqrt_().mul_(weight**0.5))


@dataclass(frozen=True)
class Field:
    """What the inference ends with.

    Attributes:
        unary: (K, H, W) float32, the energy it began with.
        kept: (k,) int64, ascending, labels that got messages.
        marginals_kept: (N, k) float32.
        log_total: (N,) logarithm of what the others' exp(-unary) is divided by; None if there are no others.
    """

    unary: Tensor
    kept: Tensor
    marginals_kept: Tensor
    log_total: Tensor | None

    @property
    def labels(self) -> Tensor:
        """(H, W) int64, of equally likely labels the lowest."""
        return self.kept[self.marginals_kept.argmax(1)].reshape(self.unary.shape[1:])

    @cached_property
    def marginals(self) -> Tensor:
        """(K, H, W) float32."""
        if self.log_total is None:
            return self.marginals_kept.t().reshape(self.unary.shape)
        result = (-self.unary - self.log_total.reshape(self.unary.shape[1:])).exp_()
        result[self.kept] = self.marginals_kept.t().reshape(-1, *self.unary.shape[1:])
        return result


def mean_field(unary: Tensor, terms: Pairwise, iterations: int) -> Field:
    """Mean-field inference.

    Args:
        unary: (K, H, W) float32 energies, on the device of the terms.
        terms: of an image of this size.
        iterations: 0 gives the softmax of the negative energies.
    """
    kept = can_win(unary, terms.messages, iterations)
    wanted = unary if len(kept) == len(unary) else unary[kept]
    negative = wanted.flatten(1).t().contiguous().neg_()
    others = None
    if len(kept) < len(unary):
        lost = torch.ones(len(unary), dtype=torch.bool, device=unary.device)
        lost[kept] = False
        others = (-unary[lost]).flatten(1).logsumexp(0)
    scores = negative.clone()
    marginals, log_total = _normalise(scores, others)
    for _ in range(iterations):
        scores = terms.add_messages(scores.copy_(negative), marginals)
        marginals, log_total = _normalise(scores, others, out=marginals)
    return Field(unary, kept, marginals, log_total)


def _normalise(
    scores: Tensor, others: Tensor | None, out: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Softmax over labels, some of which stay as they are.

    Args:
        scores: (N, k).
        others: (N,) logsumexp of the other labels.
        out: for the softmax.

    Returns:
        (N, k), and the logsumexp (N,) of all labels if there are others.
    """
    out = torch.empty_like(scores) if out is None else out
    if others is None and scores.shape[1] >= _WIDE:
        return torch.softmax(scores, 1, out=out), None
    log_total = scores.logsumexp(1)
    if others is not None:
        log_total = torch.logaddexp(log_total, others)
    return torch.sub(scores, log_total[:, None], out=out).exp_(), log_total
