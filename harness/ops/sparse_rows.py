"""Sparse matrices times dense ones, on any device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """A matrix stored by rows (CSR).

    A product is torch's `embedding_bag`, a weighted sum of rows of the dense matrix, which was measured to be
    about twice as fast as MKL's sparse product (benchmarks/test_dense_crf.py). Each sum is made in order by
    one thread, so that equal inputs give equal bits.

    Attributes:
        starts: (rows + 1,) int32, where each row begins in the other two.
        indices: (E,) int32 columns.
        values: (E,).
        columns: their number.
    """

    starts: Tensor
    indices: Tensor
    values: Tensor
    columns: int

    @classmethod
    def regular(cls, indices: Tensor, values: Tensor, columns: int) -> SparseRows:
        """The matrix whose rows all have L entries: indices and values (rows, L)."""
        rows, length = indices.shape
        starts = torch.arange(0, rows * length + 1, length, device=indices.device, dtype=torch.int32)
        return cls(starts, indices.reshape(-1).int(), values.reshape(-1), columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.starts) - 1, self.columns

    def scaled_rows(self, factors: Tensor) -> SparseRows:
        """Each row times its factor (rows,)."""
        return replace(self, values=self.values * factors.repeat_interleave(self.starts.diff()))

    def scaled_columns(self, factors: Tensor) -> SparseRows:
        """Each column times its factor (columns,)."""
        return replace(self, values=self.values * factors[self.indices])

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Product with a dense matrix (columns, K) of the values' type, without a gradient: (rows, K)."""
        return F.embedding_bag(
            self.indices,
            dense.detach(),
            self.starts,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )
