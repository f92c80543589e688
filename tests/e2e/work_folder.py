"""What tests look for in a work folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from harness.artifact import Artifact
from harness.progress import read_progress
from harness.record import RunRecord, read_records
from harness.report import Metric

T = TypeVar("T")
_PATIENCE = 300.0  # seconds; only a test that fails waits as long


def until(condition: Callable[[], T | None], what: str) -> T:
    """Wait for something that comes."""
    deadline = time.monotonic() + _PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return value


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
    """The artifact of a stage that has done some of its work and not all; a training has saved a point."""
    found = artifact(work, stage)
    progress = read_progress(found.folder) if found else None
    if found is None or progress is None or not progress.start < progress.done < progress.total:
        return None
    assert not found.complete, f"stage '{stage}' was over before it was looked at"
    training = progress.unit == "iterations"
    return found if not training or list(found.state.glob("iter_*.pth")) else None


def kill_in_the_middle(harness: subprocess.Popen[str], work: Path, stage: str) -> Artifact:
    """SIGKILL a harness with its process group while a stage is at work; the stage must end too."""

    def found() -> Artifact | None:
        assert harness.poll() is None, f"the run ended before it was killed: {harness.communicate()[0]}"
        return in_the_middle(work, stage)

    at_work = until(found, f"stage '{stage}' to be at work")
    os.killpg(harness.pid, signal.SIGKILL)
    until(lambda: not processes_of(at_work), "the stage to end with its harness")
    assert not at_work.complete
    return at_work


def processes_of(at_work: Artifact) -> list[psutil.Process]:
    """Live processes whose command line names the artifact."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(at_work.folder) in " ".join(process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
