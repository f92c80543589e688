"""Baselines: what several runs of one recipe measured, and how far a new run may lie from it.

A band is a prediction interval: with n baseline values of mean x and standard deviation s (n - 1 degrees of
freedom), the mean of m new runs of the same recipe lies within

    x ± t((1 + level) / 2, n - 1) · s · sqrt(1 / m + 1 / n)

with probability `level`, for independent normal values (Hahn and Meeker, Statistical Intervals, 1991, 4.7).
Costs are compared as ratios, hence by the same formula on their logarithms. A band is never narrower than its
floor, since repetitions on one machine do not show the numerical noise between machines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import InputError
from harness.files import write_json
from harness.hardware import Hardware
from harness.record import RunRecord, WeightsRecord
from harness.report import Metric

MIN_RUNS = 3
CostName = Literal["time", "host memory", "gpu memory"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Rule(_Strict):
    """How wide bands are; see the module's head."""

    level: float = Field(
        default=0.99, gt=0, lt=1, description="probability that a new run lies within the band"
    )
    miou_floor: float = Field(
        default=0.005, ge=0, description="least half-width of a number's band, fraction of 1"
    )
    time_floor: float = Field(default=0.15, ge=0, description="least distance of a time's ratio from 1")
    memory_floor: float = Field(default=0.10, ge=0, description="least distance of a memory's ratio from 1")


class NumberId(_Strict):
    """Which number it is, and what it means: its protocol without the recipe."""

    number: str
    metric: str
    split: str
    images: int
    ground_truth: str
    threshold: str

    @classmethod
    def of(cls, metric: Metric) -> NumberId:
        """The identity of a measured number."""
        protocol = metric.protocol
        return cls(
            number=metric.number,
            metric=protocol.metric,
            split=protocol.split,
            images=protocol.images,
            ground_truth=protocol.ground_truth,
            threshold=protocol.threshold,
        )

    @property
    def name(self) -> str:
        """As in tables: `seed (fixed), train`."""
        chosen = "" if self.threshold == "none" else f" ({self.threshold})"
        return f"{self.number}{chosen}, {self.split}"


class NumberValues(_Strict):
    """A number's value in each run, fractions of 1."""

    id: NumberId
    values: list[float]


class CostValues(_Strict):
    """A cost in each run: seconds over all stages, or the highest peak of a stage in bytes."""

    name: CostName
    values: list[float]


class BaselineRun(_Strict):
    """Where the values of one run come from."""

    run_id: str
    seed: int
    started: datetime


class Provenance(_Strict):
    """Who made a baseline, when, and from what; all of its runs share this."""

    made_by: str
    made_at: datetime
    version: str
    commit: str | None
    dirty: bool | None
    source_hash: str
    executor: str
    python: str
    packages: dict[str, str]
    hardware: Hardware


class Baseline(_Strict):
    """The file that runs are checked against."""

    schema_version: Literal[1] = 1
    method: str
    variant: str | None
    dataset: str
    fingerprint: str
    images: dict[str, int] = Field(description="images used per split")
    limit: int | None
    smoke: bool
    weights: list[WeightsRecord]
    auxiliary: dict[str, str] = Field({}, description="content hash of auxiliary maps by name")
    config: dict[str, Any] = Field(description="fully resolved, to name what differs")
    rule: Rule
    runs: list[BaselineRun] = Field(min_length=MIN_RUNS)
    numbers: list[NumberValues] = Field(min_length=1)
    costs: list[CostValues]
    stage_seconds: dict[str, list[float]] = Field(description="to say which stage a time was lost in")
    provenance: Provenance

    @model_validator(mode="after")
    def _one_value_per_run(self) -> Baseline:
        series = [*(n.values for n in self.numbers), *(c.values for c in self.costs)]
        series += list(self.stage_seconds.values())
        if any(len(values) != len(self.runs) for values in series):
            raise ValueError(f"every quantity needs one value for each of the {len(self.runs)} runs")
        return self

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(path, self.model_dump(mode="json"))


@dataclass(frozen=True)
class Band:
    """Where the mean of new runs is expected: the baseline's mean and both ends."""

    mean: float
    low: float
    high: float


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        InputError: the file cannot be read or is no baseline of this schema.
    """
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot read the baseline {path} ({error.strerror}): make one with harness check --update"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(
            f"{path} is no baseline of schema 1: {place}: {first['msg']}; make it again with "
            "harness check --update"
        ) from error


def number_band(values: Sequence[float], rule: Rule, runs: int = 1) -> Band:
    """Band for the mean of a number over new runs.

    Args:
        values: the baseline's, fractions of 1; at least two.
        rule: level and floor.
        runs: how many new runs the mean is over.
    """
    mean, half = fmean(values), max(half_width(values, rule.level, runs), rule.miou_floor)
    return Band(mean, mean - half, mean + half)


def cost_band(values: Sequence[float], rule: Rule, name: CostName, runs: int = 1) -> Band:
    """Band for the geometric mean of a cost over new runs, in the cost's own unit (arguments as above)."""
    logs = [math.log(value) for value in values]
    floor = rule.time_floor if name == "time" else rule.memory_floor
    half = max(half_width(logs, rule.level, runs), math.log1p(floor))
    mean = fmean(logs)
    return Band(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def half_width(values: Sequence[float], level: float, runs: int) -> float:
    """Half the prediction interval for the mean of `runs` new values; see the module's head."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf((1 + level) / 2, n - 1)) * stdev(values) * math.sqrt(1 / runs + 1 / n)


def numbers_of(record: RunRecord) -> dict[NumberId, float]:
    """A run's numbers by what they mean."""
    return {NumberId.of(metric): metric.value for metric in record.metrics}


def run_costs(record: RunRecord) -> dict[CostName, float]:
    """What a run cost: seconds over all stages, highest peaks of memory; without what was not measured."""
    reports = [stage.report for stage in record.stages if stage.report]
    gpu = [report.measurements.gpu_memory_peak_bytes for report in reports]
    found: dict[CostName, float] = {
        "time": sum(report.seconds for report in reports),
        "host memory": max((report.measurements.host_memory_peak_bytes for report in reports), default=0),
        "gpu memory": max((peak for peak in gpu if peak is not None), default=0),
    }
    return {name: value for name, value in found.items() if value > 0}


def stage_seconds_of(record: RunRecord) -> dict[str, float]:
    """Seconds per stage of a run."""
    return {stage.name: stage.report.seconds for stage in record.stages if stage.report}
