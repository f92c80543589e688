"""Runs of a sweep as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from harness.sweep import SweepRun

_GRACE = 30.0  # seconds from SIGTERM to SIGKILL: a run gives its stage 10


class LocalLauncher:
    """Executes some runs at a time, each with a part of the cores, and none longer than this process lives.

    GPUs are not dealt out here: each stage of a run takes free ones (`harness.gpus`).

    Args:
        runs: in the order in which they are begun.
        jobs: how many at a time.
    """

    def __init__(self, runs: Sequence[SweepRun], jobs: int) -> None:
        self.room = jobs
        self._queue = list(runs)
        self._slots: dict[int, SweepRun] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # Its reading end goes to every run's guard, its writing end to nobody: it ends with this process.
        self._lifeline = os.pipe()

    def advance(self) -> None:
        """Start runs in the place of those that have ended."""
        for slot in range(self.room):
            running = self._slots.get(slot)
            if (running is None or self.status(running) is not None) and self._queue:
                self._slots[slot] = self._start(self._queue.pop(0), slot)

    def status(self, run: SweepRun) -> int | None:
        """Exit status of a run that ended; None before."""
        process = self._processes.get(run.run_id)
        return process.poll() if process else None

    def word(self, run: SweepRun) -> str:
        """What it waits for, if it was not started."""
        return "" if run.run_id in self._processes else "for other runs"

    def stop(self) -> None:
        """End the runs as Ctrl-C ends one, and wait."""
        self._queue.clear()
        alive = [process for process in self._processes.values() if process.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + _GRACE
        for process in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, run: SweepRun, slot: int) -> SweepRun:
        reading = self._lifeline[0]
        guard = ("-m", "harness.executors.guard", str(reading), run.module)
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *guard, *run.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(reading,),
                start_new_session=True,  # Ctrl-C is for the sweep, which then ends its runs
            )
        cores = part_of_cores(sorted(os.sched_getaffinity(0)), slot, self.room)
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, cores)
        self._processes[run.run_id] = process
        return run


def part_of_cores(cores: Sequence[int], slot: int, slots: int) -> Sequence[int]:
    """The cores of one of several runs at a time; all of them where there are fewer than runs."""
    if len(cores) < slots:
        return cores
    return cores[slot * len(cores) // slots : (slot + 1) * len(cores) // slots]
