"""What tests look for in a work folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from harness.artifact import Artifact
from harness.progress import read_progress
from harness.record import RunRecord, read_records
from harness.report import Metric
from tests.waiting import until

_TRIES = 5


class Missed(AssertionError):
    """A stage was over before anybody looked at it."""


def last_record(work: Path) -> RunRecord:
    """The record of the latest run."""
    return read_records(work, pytest.fail)[-1]


def states(work: Path) -> dict[str, str]:
    """What became of each stage in the latest run."""
    return {stage.name: stage.state for stage in last_record(work).stages}


def metrics(work: Path) -> list[Metric]:
    """Every number of the latest run."""
    return last_record(work).metrics


def artifact(work: Path, stage: str) -> Artifact | None:
    """The artifact that a stage is making or has made, where there is one only."""
    for path in work.glob("artifacts/*/stage.json"):
        if json.loads(path.read_text())["stage"] == stage:
            return Artifact(path.parent)
    return None


def in_the_middle(work: Path, stage: str) -> Artifact | None:
    """The artifact of a stage that has done some of its work and not all; a training has saved a point.

    Raises:
        Missed: it was made already.
    """
    found = artifact(work, stage)
    progress = read_progress(found.folder) if found else None
    if found is None or progress is None or not progress.start < progress.done < progress.total:
        return None
    if found.complete:
        raise Missed(f"stage '{stage}' was over before it was looked at")
    training = progress.unit == "iterations"
    return found if not training or list(found.state.glob("iter_*.pth")) else None


def kill_in_the_middle(
    start: Callable[[], AbstractContextManager[subprocess.Popen[str]]], work: Path, stage: str
) -> Artifact:
    """SIGKILL a harness with its process group while a stage is at work; the stage must end too.

    A loaded machine may look at a short stage too late: then the stage is made once more.

    Args:
        start: starts the harness.
    """
    missed = Missed()
    for _ in range(_TRIES):
        try:
            with start() as harness:
                at_work = until(lambda: _seen_in_the_middle(harness, work, stage), f"stage '{stage}'")
                os.killpg(harness.pid, signal.SIGKILL)
            until(partial(_idle, at_work), "the stage to end with its harness")
            if not at_work.complete:
                return at_work
        except Missed as error:
            missed = error
        if over := artifact(work, stage):
            over.discard()
    raise missed


def _seen_in_the_middle(harness: subprocess.Popen[str], work: Path, stage: str) -> Artifact | None:
    if harness.poll() is not None:
        raise Missed(f"the run ended before it was killed: {harness.communicate()[0]}")
    return in_the_middle(work, stage)


def _idle(at_work: Artifact) -> bool:
    return not processes_of(at_work)


@contextmanager
def held(at_work: Artifact) -> Iterator[None]:
    """Let a stage neither go on nor end during the block, however long that takes."""
    stopped = processes_of(at_work)
    assert stopped, "nobody is at work"
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def processes_of(at_work: Artifact) -> list[psutil.Process]:
    """Live processes whose command line names the artifact."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(at_work.folder) in " ".join(process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
