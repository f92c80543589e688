"""Foreign transforms that draw from global random states, made a function of a generator."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_globals(rng: np.random.Generator) -> Iterator[None]:
    """Make numpy's and Python's global numbers a function of the generator; both states come back after."""
    numpys, pythons = np.random.get_state(), random.getstate()
    np.random.seed(int(rng.integers(2**32)))
    random.seed(int(rng.integers(2**32)))
    try:
        yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)
