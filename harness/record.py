"""`record.json`: all that is needed to trust a run's numbers and to repeat it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import InputError
from harness.files import write_json
from harness.hardware import Hardware
from harness.report import Metric, Report

SCHEMA_VERSION = 1
State = Literal["running", "done", "failed", "interrupted", "timeout", "out of memory", "wrong input"]


class DatasetRecord(BaseModel):
    """Which data a run used."""

    name: str
    fingerprint: str = Field(description="content hash over lists, image-level labels and masks")
    split_fingerprints: dict[str, str] = Field(
        {}, description="the same of each split alone, for comparing runs that use other splits besides"
    )
    official: bool = Field(description="whether this is the official, complete dataset")
    images: dict[str, int] = Field(description="images used per split")
    split_sizes: dict[str, int] = Field(description="images in the dataset's own lists")
    notices: list[str] = Field([], description="what differs from the official data, in words")


class CodeRecord(BaseModel):
    """Which source was executed."""

    version: str
    commit: str | None = Field(None, description="git commit; null outside of a checkout")
    dirty: bool | None = None
    source_hash: str


class EnvironmentRecord(BaseModel):
    """Where stages were executed."""

    executor: str
    identity: str = Field(description="what the stage keys contain of the environment")
    image: str | None = None
    image_id: str | None = None
    image_digest: str | None = None
    python: str
    packages: dict[str, str]


class WeightsRecord(BaseModel):
    """Initial weights; `sha256` null means random numbers."""

    name: str
    sha256: str | None


class StageRecord(BaseModel):
    """One stage of the run; `report` is what it measured when it was executed, here or in an earlier run."""

    name: str
    type: str
    key: str
    state: Literal["waiting", "running", "done", "reused", "imported", "failed"] = "waiting"
    inputs: dict[str, str] = {}
    artifact: str = Field(description="artifact folder, relative to the work folder if it is below it")
    started: datetime | None = None
    ended: datetime | None = None
    report: Report | None = None
    error: str | None = None


class RunRecord(BaseModel):
    """One execution of a plan."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    run_id: str
    method: str
    variant: str | None = None
    title: str = ""
    dataset: DatasetRecord
    config: dict[str, Any] = Field(description="fully resolved config")
    overrides: list[str] = []
    seed: int
    limit: int | None = Field(None, description="images per split, if shortened")
    smoke: bool = False
    gpus: int | None = Field(None, description="GPUs that each stage was given")
    code: CodeRecord
    environment: EnvironmentRecord
    hardware: Hardware
    weights: list[WeightsRecord] = []
    auxiliary: dict[str, str] = Field({}, description="content hash of auxiliary maps by name")
    stages: list[StageRecord]
    started: datetime
    ended: datetime | None = None
    state: State = "running"
    error: str | None = None

    @property
    def metrics(self) -> list[Metric]:
        """Every metric of the run, in the order of its stages."""
        return [metric for stage in self.stages if stage.report for metric in stage.report.metrics]

    @property
    def marks(self) -> list[str]:
        """Why the run's numbers are not those of a full run; empty for a full one."""
        marks = []
        if self.smoke:
            marks.append("smoke")
        if self.limit is not None and not self.smoke:
            marks.append(f"limit {self.limit}")
        if self.overrides:
            marks.append("overrides")
        if any(weights.sha256 is None for weights in self.weights):
            marks.append("random weights")
        if not self.dataset.official:
            marks.append("custom data")
        return marks + [f"imported {stage.name}" for stage in self.stages if stage.state == "imported"]

    def write(self, folder: Path) -> None:
        """Write `record.json` atomically."""
        write_json(folder / "record.json", self.model_dump(mode="json"))


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        InputError: the file cannot be read or is no record of this schema.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the record {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(
            f"{path} is no record of schema {SCHEMA_VERSION}: {place}: {first['msg']}; remove it or run again"
        ) from error


def read_records(work: Path, warn: Callable[[str], None]) -> list[RunRecord]:
    """Records of all runs in a work folder, oldest first.

    Args:
        work: the work folder.
        warn: receives a sentence for every record that cannot be read; one run must not sink the others.
    """
    records = []
    for path in sorted(work.glob("runs/*/record.json")):
        try:
            records.append(read_record(path))
        except InputError as error:
            warn(str(error))
    return records


def export_schema(path: Path) -> None:
    """Write the JSON Schema of `record.json`."""
    path.write_text(json.dumps(RunRecord.model_json_schema(), indent=1) + "\n", encoding="utf-8")
