"""Memory and writes of this process with all its descendants, and of the container it runs in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import psutil

_NEW_HIGH = 1.01  # read PSS when the RSS sum has grown by 1 % since the last reading, ...
_REFRESH = 30.0  # ... or after this many seconds
_CONTAINER_INITS = {"docker-init", "tini", "catatonit", "dumb-init"}


class TreeMemory:
    """Peak memory of a process tree.

    PSS (shared pages split among their users) is the honest sum over a tree of forked workers, but the
    kernel walks page tables for it: milliseconds per GiB. The sum of RSS is nearly free and rises with PSS,
    so PSS is read only when the RSS sum reaches a new high, and now and then.
    """

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._rss_peak = 0
        self._pss_peak: int | None = None
        self._pss_available = True
        self._rss_at_reading = 0
        self._read_at = float("-inf")

    @property
    def kind(self) -> Literal["pss", "rss"]:
        """What `peak` counts; 'rss' counts pages shared between processes once per process."""
        return "rss" if self._pss_peak is None else "pss"

    @property
    def peak(self) -> int:
        """Bytes at the worst sample."""
        return self._rss_peak if self._pss_peak is None else self._pss_peak

    def sample(self) -> None:
        """Look at every live process of the tree; processes that end meanwhile are left out."""
        tree = live_tree(self._root)
        rss = sum(_rss(process) for process in tree)
        self._rss_peak = max(self._rss_peak, rss)
        due = rss > self._rss_at_reading * _NEW_HIGH or time.monotonic() - self._read_at > _REFRESH
        if not (self._pss_available and due):
            return
        self._rss_at_reading, self._read_at = max(rss, self._rss_at_reading), time.monotonic()
        try:
            pss = sum(_pss(process) for process in tree)
        except (psutil.AccessDenied, AttributeError):  # hardened kernel; not Linux
            self._pss_available, self._pss_peak = False, None
            return
        self._pss_peak = max(self._pss_peak or 0, pss)


def live_tree(root: psutil.Process) -> list[psutil.Process]:
    """The process and its descendants at this moment."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:  # a child ended while its parent was being looked up
        return [root]


def tree_bytes_written(root: psutil.Process) -> int | None:
    """Bytes that the tree has sent towards storage so far; None where the system does not count them.

    Linux adds a reaped child's count to its parent's, so a difference of two sums over the live tree misses
    nothing. Pipes, sockets and tmpfs do not count.
    """
    total = 0
    for process in live_tree(root):
        try:
            total += process.io_counters().write_bytes
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        except (psutil.AccessDenied, AttributeError, NotImplementedError, OSError):
            return None
    return total


def folder_bytes(folder: Path) -> int:
    """Bytes in the files of a folder; files that are renamed meanwhile may be missed."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def container_memory_peak(root: Path = Path("/")) -> int | None:
    """The kernel's peak of a container's memory in bytes, page cache included; None where it is not told.

    cgroup v2: `memory.peak` at the top of a private cgroup namespace (the host's top has no such file).
    cgroup v1: `memory.max_usage_in_bytes`, which in a container is the container's own.

    Args:
        root: where the file system starts, for tests.
    """
    group = root / "sys/fs/cgroup"
    for path in (group / "memory.peak", group / "memory/memory.max_usage_in_bytes"):
        if path.is_file():
            return int(path.read_text(encoding="utf-8"))
    return None


def owns_container(process: psutil.Process) -> bool:
    """Whether the process is what its container was started for: PID 1, or the child of an engine's init.

    A stage that shares a container with the command line that started it (or with a whole workstation) has
    no peak of its own in the kernel's books.
    """
    if process.pid == 1:
        return True
    parent = process.parent()
    return parent is not None and parent.pid == 1 and parent.name() in _CONTAINER_INITS


def _rss(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0
