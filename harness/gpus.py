"""Which GPUs a stage gets: those of this machine that no other run of the same user computes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.nvml import as_text, nvml_session, visible_devices
from harness.weights import cache_folder

_POLL = 0.5  # seconds between two looks for a free GPU


def visible_gpus() -> tuple[str, ...]:
    """UUIDs of the GPUs that this process may use, in CUDA's order."""
    with nvml_session() as nvml:
        if nvml is None:
            return ()
        handles = visible_devices(nvml, os.environ)
        return tuple(as_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles)


@contextmanager
def held_gpus(
    there: Sequence[str], count: int, on_wait: Callable[[], None], folder: Path | None = None
) -> Iterator[tuple[str, ...]]:
    """Hold GPUs, the first ones that are free; all are taken at once, so that nobody waits in a circle.

    A lock file per GPU says who computes on it. The kernel unlocks it when its process ends, however it ends.

    Args:
        there: UUIDs to choose from.
        count: how many.
        on_wait: called once if fewer are free.
        folder: of the lock files; by default one in the user's cache folder.
    """
    folder = folder or cache_folder().parent / "gpus"
    waited = False
    while True:
        with ExitStack() as held:
            found = _take(there, count, folder, held)
            if len(found) == count:
                yield found
                return
        if not waited:
            on_wait()
            waited = True
        time.sleep(_POLL)


def _take(there: Sequence[str], count: int, folder: Path, held: ExitStack) -> tuple[str, ...]:
    """Free GPUs, at most `count`, whose locks go onto the stack."""
    found: list[str] = []
    for gpu in there:
        if len(found) == count:
            break
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{gpu}.lock")
        try:
            held.enter_context(lock.acquire(timeout=0))
        except Timeout:
            continue
        found.append(gpu)
    return tuple(found)
