"""Parameters of the dense CRF, and what computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from harness.errors import InputError, nearest

Backend = Literal["pydensecrf", "torch", "auto"]


@dataclass(frozen=True)
class CRFParameters:
    """Parameters of mean-field inference with a smoothness and an appearance kernel.

    Attributes:
        iterations: mean-field iterations.
        gaussian_sxy: standard deviation of the smoothness kernel in pixels.
        gaussian_compat: its weight.
        bilateral_sxy: spatial standard deviation of the appearance kernel in pixels.
        bilateral_srgb: its colour standard deviation in grey levels (0-255).
        bilateral_compat: its weight.
        rows_first: give the kernels positions as (row, column). The lattice approximates one dimension after
            the other, so the marginals differ by some percent from those of (column, row).
        backend: `pydensecrf`, on one core; `torch`, on the GPU if there is one; `auto`, the faster of them
            as measured by benchmarks/test_dense_crf.py: torch, on CPUs as well, for any number of labels.
    """

    iterations: int
    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
    rows_first: bool = False
    backend: Backend = "pydensecrf"

    def updated(self, settings: Mapping[str, Any]) -> CRFParameters:
        """These parameters with some of them set by a config.

        Raises:
            InputError: a setting has no such name, or there is no such backend.
        """
        known = [field.name for field in fields(self)]
        for name in settings:
            if name not in known:
                raise InputError(
                    f"crf.{name} is not a parameter of the CRF{nearest(name, known)}; use {', '.join(known)}."
                )
        if settings.get("backend", self.backend) not in (backends := get_args(Backend)):
            raise InputError(f"crf.backend={settings['backend']!r} is none of {', '.join(backends)}.")
        return replace(self, **settings)
