"""The regression check: do new runs still measure what the runs of a baseline did?

What a number means must be the same (method, dataset and data, images, weights, ground truth); its recipe may
have changed, since that is one way to break it, and what changed is named.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from pydantic import ValidationError

from harness.errors import InputError
from harness.hardware import Hardware
from harness.record import RunRecord, WeightsRecord
from harness.schema import MethodConfig
from leaderboard.baseline import (
    Band,
    Baseline,
    cost_band,
    number_band,
    numbers_of,
    run_costs,
    stage_seconds_of,
)
from leaderboard.comparison import Difference, differences

Verdict = Literal["ok", "regression", "improved", "missing", "new", "not compared"]
Quantity = Literal["mIoU", "time", "memory"]


@dataclass(frozen=True)
class Finding:
    """One compared quantity.

    Attributes:
        name: as in tables, `pseudo, train` or `time`.
        quantity: what the values are: mIoU as fractions of 1, seconds, or bytes.
        now: mean over the checked runs (of costs: geometric mean), None where they have none.
        band: where it is expected; None for what the baseline has not.
        verdict: `improved` and `new` are no failures.
        note: where in the run it happened, or why it was not compared.
    """

    name: str
    quantity: Quantity
    now: float | None
    band: Band | None
    verdict: Verdict
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether this makes the check fail."""
        return self.verdict in ("regression", "missing")


@dataclass(frozen=True)
class Check:
    """The outcome of a check.

    Attributes:
        run_ids: the runs whose mean was compared.
        findings: numbers, then costs.
        changes: what differs in the resolved config, in the baseline and now.
    """

    run_ids: tuple[str, ...]
    findings: tuple[Finding, ...]
    changes: tuple[Difference, ...]

    @property
    def failed(self) -> bool:
        """Whether any quantity regressed or is missing."""
        return any(finding.failed for finding in self.findings)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why quantities were not compared, each reason once."""
        return tuple(dict.fromkeys(f.note for f in self.findings if f.verdict == "not compared"))


def check(baseline: Baseline, records: Sequence[RunRecord]) -> Check:
    """Compare the mean of runs with a baseline.

    Args:
        baseline: what is expected.
        records: one run, or several repetitions of it (other seeds, or the same work done again). The mean
            of several has a narrower band than each of them.

    Raises:
        InputError: a run cannot be compared with the baseline, or two of them are the same measurement.
    """
    for record in records:
        if reason := why_incomparable(baseline, record):
            raise InputError(f"run {record.run_id} cannot be compared with the baseline: {reason}")
    _require_repetitions(records)
    refusal = why_other_costs(baseline, records)
    return Check(
        run_ids=tuple(record.run_id for record in records),
        findings=(*_numbers(baseline, records), *_costs(baseline, records, refusal)),
        changes=config_changes(baseline, records[0]),
    )


def why_incomparable(baseline: Baseline, record: RunRecord) -> str | None:
    """Why a run's numbers mean something else than the baseline's, and what to do; None where they do not."""
    if record.state != "done":
        return f"it is {record.state}; finish it with the same command"
    for what, here, there in (
        ("method", _variant(record.method, record.variant), _variant(baseline.method, baseline.variant)),
        ("dataset", record.dataset.name, baseline.dataset),
        ("--limit", record.limit, baseline.limit),
        ("--smoke", record.smoke, baseline.smoke),
    ):
        if here != there:
            return f"its {what} is {here}, the baseline's is {there}; name another run or baseline"
    if record.dataset.fingerprint != baseline.fingerprint or record.dataset.images != baseline.images:
        return (
            f"its data are not the baseline's (fingerprint {record.dataset.fingerprint}, "
            f"not {baseline.fingerprint}); run on the same data, or make a baseline for these"
        )
    if imported := [stage.name for stage in record.stages if stage.state == "imported"]:
        return f"its {', '.join(imported)} came from elsewhere (--use); run without"
    if record.auxiliary != baseline.auxiliary:
        return "its auxiliary maps are not the baseline's; name the same with --aux"
    weights, expected_weights = _weights(record.weights), _weights(baseline.weights)
    if weights != expected_weights:
        return (
            f"it started from the weights {weights}, the baseline from {expected_weights}; "
            "name the same with --weights"
        )
    known = {
        (number.id.number, number.id.split, number.id.threshold): number.id for number in baseline.numbers
    }
    for number in numbers_of(record):
        expected = known.get((number.number, number.split, number.threshold), number)
        if expected != number:
            return (
                f"its {number.name} is {number.metric} over {number.images} images of {number.ground_truth}, "
                f"the baseline's {expected.metric} over {expected.images} of {expected.ground_truth}; "
                "make a new baseline if that is meant"
            )
    return None


def why_other_costs(baseline: Baseline, records: Sequence[RunRecord]) -> str | None:
    """Why time and memory of the runs say nothing beside the baseline's; None where they do."""
    expected = _machine(baseline.provenance.hardware) | {"executor": baseline.provenance.executor}
    for record in records:
        found = _machine(record.hardware) | {"executor": record.environment.executor}
        differ = [
            f"{name} {found[name]}, not {expected[name]}"
            for name in expected
            if found[name] != expected[name]
        ]
        if differ:
            return f"time and memory are not compared, the hardware is another: {'; '.join(differ)}"
        if reused := [stage.name for stage in record.stages if stage.state != "done"]:
            return (
                f"time and memory are not compared: run {record.run_id} reused {', '.join(reused)} from an "
                "earlier run, whose machine is not known"
            )
    return None


def config_changes(baseline: Baseline, record: RunRecord) -> tuple[Difference, ...]:
    """What differs in the resolved config.

    Settings that the schema has got since then are compared by their defaults.
    """
    return tuple(differences([_completed(baseline.config), _completed(record.config)]))


def _completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config with the defaults of the present schema, or as it is where the schema knows it no more."""
    try:
        return MethodConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


def _numbers(baseline: Baseline, records: Sequence[RunRecord]) -> Iterator[Finding]:
    measured = [numbers_of(record) for record in records]
    for number in baseline.numbers:
        band = number_band(number.values, baseline.rule, len(records))
        found = [run[number.id] for run in measured if number.id in run]
        if len(found) < len(records):
            yield Finding(number.id.name, "mIoU", None, band, "missing", "the run has no such number")
        else:
            now = fmean(found)
            verdict: Verdict = "regression" if now < band.low else "improved" if now > band.high else "ok"
            yield Finding(number.id.name, "mIoU", now, band, verdict)
    known = {number.id for number in baseline.numbers}
    for added in dict.fromkeys(key for run in measured for key in run if key not in known):
        now = fmean(run[added] for run in measured if added in run)
        yield Finding(added.name, "mIoU", now, None, "new", "not in the baseline")


def _costs(baseline: Baseline, records: Sequence[RunRecord], refusal: str | None) -> Iterator[Finding]:
    measured = [run_costs(record) for record in records]
    for cost in baseline.costs:
        band = cost_band(cost.values, baseline.rule, cost.name, len(records))
        found = [run[cost.name] for run in measured if cost.name in run]
        quantity: Quantity = "time" if cost.name == "time" else "memory"
        now = math.exp(fmean(math.log(value) for value in found)) if len(found) == len(records) else None
        if refusal is not None or now is None:
            note = refusal or f"{cost.name} was not measured in every run"
            yield Finding(cost.name, quantity, now, band, "not compared", note)
            continue
        verdict: Verdict = "regression" if now > band.high else "improved" if now < band.low else "ok"
        note = _where(baseline, records) if cost.name == "time" and verdict != "ok" else ""
        yield Finding(cost.name, quantity, now, band, verdict, note)


def _where(baseline: Baseline, records: Sequence[RunRecord]) -> str:
    """The stages in which most time was lost or won, as `cam 20 s → 41 s`."""
    runs = [stage_seconds_of(record) for record in records]
    before = {name: fmean(values) for name, values in baseline.stage_seconds.items()}
    after = {name: fmean(run.get(name, 0.0) for run in runs) for name in {*before, *runs[0]}}
    moved = sorted(after, key=lambda name: -abs(after[name] - before.get(name, 0.0)))
    return ", ".join(f"{name} {before.get(name, 0.0):.1f} s → {after[name]:.1f} s" for name in moved[:2])


def _require_repetitions(records: Sequence[RunRecord]) -> None:
    """Refuse a mean over runs of different recipes, and one over copies, which has not the band of a mean."""
    for record in records[1:]:
        if (record.config, record.code.source_hash) != (records[0].config, records[0].code.source_hash):
            raise InputError(
                f"runs {records[0].run_id} and {record.run_id} are of different configs or code: "
                "check each of them alone"
            )
    seen: dict[tuple[str, float], str] = {}
    for record in records:
        for stage in record.stages:
            if stage.report is None or not stage.report.metrics:
                continue
            measurement = (stage.key, stage.report.seconds)
            if measurement in seen:
                raise InputError(
                    f"runs {seen[measurement]} and {record.run_id} share stage '{stage.name}', which one "
                    "reused from the other: repeat the run with another --seed or --force"
                )
            seen[measurement] = record.run_id


def _weights(weights: Sequence[WeightsRecord]) -> str:
    named = sorted(f"{entry.name} {(entry.sha256 or 'random')[:12]}" for entry in weights)
    return ", ".join(named) or "none"


def _variant(method: str, variant: str | None) -> str:
    return f"{method} ({variant})" if variant else method


def _machine(hardware: Hardware) -> dict[str, str]:
    """What time and memory depend on, for people."""
    gib = 1 << 30
    gpus = [f"{gpu.name} {round((gpu.memory_bytes or 0) / gib)} GiB" for gpu in hardware.gpus]
    return {
        "CPU": hardware.cpu,
        "CPUs": str(hardware.usable_cpus),
        "memory": f"{round(hardware.memory_bytes / gib)} GiB",
        "GPUs": ", ".join(gpus) or "none",
        "GPU driver": str(hardware.gpu_driver or "none"),
    }
