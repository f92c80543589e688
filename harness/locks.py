"""One process at a time, and the others told that they wait."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout


def locked(path: Path, on_wait: Callable[[], None]) -> AbstractContextManager[object]:
    """Hold a lock file; `on_wait` is called first if another process holds it.

    Raises:
        OSError: the lock file cannot be made.
    """
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        return lock.acquire()
