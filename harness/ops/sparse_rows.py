"""Sparse matrices times dense ones, on any device."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_GATHERED = 1 << 27
"""Values that one step on a GPU gathers at most: 0.5 GiB of float32."""


@dataclass(frozen=True)
class SparseRows:
    """A matrix stored by rows (CSR).

    On a CPU the product is MKL's, in which one thread sums a row in order. Elsewhere rows of equal length
    gather, and others add up atomically, or in order if `deterministic`.

    Attributes:
        starts: (rows + 1,) where each row begins in the other two.
        indices: (E,) columns.
        values: (E,).
        columns: their number.
        deterministic: equal bits at every product.
        length: of each row, where all are equally long.
    """

    starts: Tensor
    indices: Tensor
    values: Tensor
    columns: int
    deterministic: bool = False
    length: int | None = None

    @classmethod
    def regular(cls, indices: Tensor, values: Tensor, columns: int, *, deterministic: bool) -> SparseRows:
        """The matrix whose rows all have L entries: indices and values (rows, L)."""
        rows, length = indices.shape
        starts = torch.arange(rows + 1, device=indices.device) * length
        return cls(starts, indices.reshape(-1), values.reshape(-1), columns, deterministic, length)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.starts) - 1, self.columns

    def scaled_rows(self, factors: Tensor) -> SparseRows:
        """Each row times its factor (rows,)."""
        return self._with(self.values * factors.repeat_interleave(self.starts.diff()))

    def scaled_columns(self, factors: Tensor) -> SparseRows:
        """Each column times its factor (columns,)."""
        return self._with(self.values * factors[self.indices])

    def _with(self, values: Tensor) -> SparseRows:
        return SparseRows(self.starts, self.indices, values, self.columns, self.deterministic, self.length)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Product with a dense matrix (columns, K): (rows, K)."""
        if dense.device.type == "cpu":
            return self._csr @ dense
        width = max(1, _GATHERED // max(1, len(self.indices)))
        return torch.cat([self._gathered(part) for part in dense.split(width, dim=1)], dim=1)

    @cached_property
    def _csr(self) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR tensor support is in beta state"
            return torch.sparse_csr_tensor(
                self.starts.to(torch.int32), self.indices.to(torch.int32), self.values, size=self.shape
            )

    def _gathered(self, dense: Tensor) -> Tensor:
        """The product without a library for sparse matrices: (columns, k) to (rows, k)."""
        rows, k = self.shape[0], dense.shape[1]
        if self.length is not None:
            indices, values = self.indices.reshape(rows, -1), self.values.reshape(rows, -1)
            total = dense[indices[:, 0]] * values[:, :1]
            for entry in range(1, self.length):
                total.addcmul_(dense[indices[:, entry]], values[:, entry : entry + 1])
            return total
        products = dense[self.indices] * self.values[:, None]
        if self.deterministic:
            return torch.segment_reduce(products, "sum", offsets=self.starts, axis=0)
        return dense.new_zeros(rows, k).index_add_(0, self._rows, products)

    @cached_property
    def _rows(self) -> Tensor:
        return torch.arange(self.shape[0], device=self.starts.device).repeat_interleave(self.starts.diff())
