"""Processes that cannot outlive the one that made them, and how they share work."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

from harness.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_AHEAD = 4  # tasks queued per worker: enough to keep it busy, little enough to bound memory


def require_even_batch(batch_size: int, processes: int) -> None:
    """Check that processes can have equal parts of a batch, whose mean is then that of the batch.

    Raises:
        InputError: they cannot.
    """
    if batch_size % processes:
        raise InputError(
            f"a batch of {batch_size} cannot be shared evenly by {processes} processes: take a number of "
            "GPUs that divides it, or set train_dataloader.batch_size"
        )


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the process `parent` ends (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request
        os._exit(1)


def map_unordered(
    function: Callable[..., Result],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to items in worker processes, as results come in.

    Args:
        function: module-level function of one item.
        items: what to work on; only a few are taken ahead, the first when the workers are there, so that an
            iterator may use threads or a GPU, which must not be forked.
        workers: number of processes; with 1 everything runs in this process.
        initializer: called once in every worker, with `arguments`, before the first item.

    Raises:
        Exception: what the function raised first; no more than a few items per worker are begun after it.
    """
    if workers <= 1:
        initializer(*arguments)
        for item in items:
            yield item, function(item)
        return
    with ProcessPoolExecutor(
        workers,
        # fork: the modules that a method needs are imported already, and importing torch anew costs seconds.
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin_worker,
        initargs=(os.getpid(), initializer, arguments),
    ) as pool:
        pool.submit(os.getpid).result()
        source = iter(items)
        pending: dict[Future[Result], Item] = {}
        try:
            for item in islice(source, workers * _AHEAD):
                pending[pool.submit(function, item)] = item
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    item = pending.pop(future)
                    yield item, future.result()
                    for following in islice(source, 1):
                        pending[pool.submit(function, following)] = following
        finally:
            for future in pending:
                future.cancel()


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next arrays (glibc; elsewhere nothing happens).

    An image's arrays take about a megabyte each. The C library would hand such blocks back to the kernel and
    get them again, page by page, for every image, which takes longer than what is computed on them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def _begin_worker(parent: int, initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    die_with_parent(parent)
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends the pool
    initializer(*arguments)
