"""The stage process: `python -m harness.stage FOLDER/stage.json` fills the artifact folder it is given."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.artifact import Artifact
from harness.components import import_modules
from harness.errors import InputError
from harness.files import write_json
from harness.monitor import Monitor
from harness.progress import ProgressWriter
from harness.report import Metric, Report
from harness.request import StageRequest
from harness.schema import OUTPUT_KIND

if TYPE_CHECKING:
    from harness.data.dataset import Dataset


@dataclass
class StageContext:
    """What a stage works with: its request, its folder, its dataset and its inputs.

    Attributes:
        rank: of this process among those that share the stage; 0 is the stage's own (`harness.stages.team`).
        port: where the processes meet; 0 if this one is to choose it.
    """

    request: StageRequest
    artifact: Artifact
    progress: ProgressWriter
    rank: int = 0
    port: int = 0

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset, opened on first use."""
        from harness.data import open_dataset

        wanted = self.request.dataset
        return open_dataset(wanted.name, wanted.root, labels=wanted.labels)

    def ids(self) -> Sequence[str]:
        """Image ids of the stage's split."""
        return self.request.dataset.ids[self.request.config["split"]]

    def input(self, role: str) -> Artifact:
        """The artifact that comes in under a role.

        Raises:
            InputError: it is not there or not whole.
        """
        artifact = Artifact(self.request.inputs[role])
        if not artifact.complete:
            raise InputError(f"the {role} of stage '{self.request.stage}' is not there: {artifact.folder}")
        return artifact

    def import_modules(self) -> None:
        """Import what the method registers its components from."""
        import_modules(self.request.custom_imports)


@dataclass
class StageResult:
    """What a stage function returns; the rest of the report is measured around it."""

    meta: dict[str, Any]
    images: int = 0
    images_per_second: float | None = None
    resumed_at: int = 0
    metrics: list[Metric] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curve: dict[str, list[float | None]] | None = None
    losses: dict[str, list[float]] | None = None
    validation: dict[str, list[float | None]] | None = None


def run_stage(request: StageRequest, folder: Path) -> Report:
    """Run one stage: the artifact in `folder` is complete when this returns.

    Raises:
        InputError: the input is wrong.
    """
    artifact = Artifact(folder).open()
    context = StageContext(request, artifact, ProgressWriter(folder))
    function = importlib.import_module(f"harness.stages.{request.type}").run
    with Monitor(folder) as monitor:
        result: StageResult = function(context)
    report = Report(
        stage=request.stage,
        key=request.key,
        seconds=context.progress.spent,
        measurements=monitor.result,
        metrics=result.metrics,
        images=result.images,
        images_per_second=result.images_per_second,
        resumed_at=result.resumed_at,
        notes=result.notes,
        curve=result.curve,
        losses=result.losses,
        validation=result.validation,
    )
    write_json(folder / "report.json", report.model_dump(mode="json"))
    kind = request.config.get("output", OUTPUT_KIND[request.type])
    artifact.finish(kind, request.stage, request.key, result.meta)
    return report


def read_request(path: Path) -> StageRequest:
    """Read `stage.json`.

    Raises:
        InputError: it is missing, or of another contract.
    """
    try:
        return StageRequest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the stage request {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is no stage request of contract 1: {place}: {first['msg']}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the stage process; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.stage", description=__doc__)
    parser.add_argument("request", type=Path, metavar="stage.json")
    path: Path = parser.parse_args(arguments).request.resolve()
    return reported(lambda: run_stage(read_request(path), path.parent), path.parent)


def reported(work: Callable[[], object], folder: Path) -> int:
    """Do a stage's work; returns the exit status, and leaves `error.json` if the input is wrong."""
    try:
        work()
    except InputError as error:
        return refuse(folder, str(error))
    except (OSError, RuntimeError) as error:
        if not disk_is_full(error):
            raise
        return refuse(folder, f"the disk that holds {folder} is full: free some space and run it again")
    return 0


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a full disk; torch hides that behind a RuntimeError while it saves."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def refuse(folder: Path, message: str) -> int:
    """Say why the input is wrong, for people and in `error.json`; returns the exit status for that."""
    sys.stderr.write(f"error: {message}\n")
    try:
        write_json(folder / "error.json", {"message": message})
    except OSError as error:  # on a full disk the log is all there is; the watcher falls back to it
        sys.stderr.write(f"(error.json could not be written: {error.strerror})\n")
    return 2


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are closed, and tearing down torch and its threads would cost up to a second.
    os._exit(status)
