"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 900.0  # seconds; only a test that fails waits as long


def until(condition: Callable[[], T | None], what: str = "something") -> T:
    """What a condition gives as soon as it gives something.

    Raises:
        AssertionError: it does not within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return value
