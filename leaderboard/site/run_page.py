"""What the page of a run shows: its numbers, its stages over time, its curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.record import RunRecord, StageRecord
from harness.report import Metric
from harness.watch import duration
from leaderboard.board import Column, column_of
from leaderboard.site.formats import finite

_RATES = {
    "fp_rate": "false positive rate",
    "fn_rate": "false negative rate",
    "precision": "precision",
    "recall": "recall",
}


@dataclass(frozen=True)
class Number:
    """A number of the run; `anchor` is its place on the page."""

    column: Column
    metric: Metric
    stage: str
    anchor: str


@dataclass(frozen=True)
class Bar:
    """A stage in the timeline.

    Attributes:
        start, share: as parts of the whole time; None where the stage did not run.
        reused: whether an earlier run executed it.
        words: what the bar says, for readers who do not see it.
    """

    stage: StageRecord
    start: float | None
    share: float | None
    reused: bool
    words: str


@dataclass(frozen=True)
class Timeline:
    """The stages of a run over time.

    Attributes:
        seconds: length of the whole.
        by_cost: whether stages stand one after another with what they cost when they were executed, since
            this run executed none of them.
    """

    bars: tuple[Bar, ...]
    seconds: float
    by_cost: bool


def numbers(record: RunRecord) -> list[Number]:
    """All numbers of a run in the order of its stages."""
    found: list[Number] = []
    for stage in record.stages:
        for metric in stage.report.metrics if stage.report else []:
            column = column_of(metric)
            # The leaderboard shows the first number of a kind, so that one has the kind's own anchor.
            again = sum(number.column == column for number in found)
            anchor = f"{column.id}-{again + 1}" if again else column.id
            found.append(Number(column, metric, stage.name, anchor))
    return found


def timeline(record: RunRecord) -> Timeline:
    """Stages by the clock, or by what they cost where the run reused all of them."""
    executed = [stage for stage in record.stages if stage.started]
    if not executed:
        return _timeline_by_cost(record.stages)
    begin = min(stage.started for stage in executed if stage.started)
    end = max([_end(stage) for stage in executed])
    whole = max((end - begin).total_seconds(), 1e-9)
    bars = []
    for stage in record.stages:
        if stage.started is None:
            bars.append(Bar(stage, None, None, stage.state == "reused", _waited(stage)))
            continue
        start = (stage.started - begin).total_seconds()
        length = (_end(stage) - stage.started).total_seconds()
        words = f"{duration(length)}, from {duration(start)} on"
        bars.append(Bar(stage, start / whole, length / whole, False, words))
    return Timeline(tuple(bars), whole, by_cost=False)


def _end(stage: StageRecord) -> datetime:
    moment = stage.ended or stage.started
    assert moment is not None
    return moment


def _waited(stage: StageRecord) -> str:
    if stage.state != "reused":
        return "not executed" if stage.state == "waiting" else stage.state
    return f"reused, had taken {duration(stage.report.seconds)}" if stage.report else "reused"


def _timeline_by_cost(stages: Sequence[StageRecord]) -> Timeline:
    seconds = [stage.report.seconds if stage.report else 0.0 for stage in stages]
    whole = max(sum(seconds), 1e-9)
    bars, at = [], 0.0
    for stage, length in zip(stages, seconds, strict=True):
        bars.append(Bar(stage, at / whole, length / whole, stage.state == "reused", _waited(stage)))
        at += length
    return Timeline(tuple(bars), whole, by_cost=True)


def chart_data(record: RunRecord) -> dict[str, Any]:
    """What the page's charts are drawn from, as JSON."""
    found = numbers(record)
    classes = list(dict.fromkeys(name for number in found for name in number.metric.per_class))
    document = {
        "classes": classes,
        "numbers": [
            {
                "label": number.column.label,
                "iou": [number.metric.per_class.get(name) for name in classes],
                "precision": [number.metric.precision.get(name) for name in classes],
                "recall": [number.metric.recall.get(name) for name in classes],
            }
            for number in found
        ],
        "curves": [_curve(stage) for stage in record.stages if stage.report and stage.report.curve],
        "losses": [_losses(stage) for stage in record.stages if stage.report and stage.report.losses],
        "validations": [
            _validation(stage) for stage in record.stages if stage.report and stage.report.validation
        ],
    }
    return finite(document)


def _curve(stage: StageRecord) -> dict[str, Any]:
    assert stage.report is not None
    assert stage.report.curve is not None
    curve = stage.report.curve
    return {
        "stage": stage.name,
        "threshold": curve.get("threshold", []),
        "mIoU": curve.get("mIoU", []),
        "rates": {words: curve[name] for name, words in _RATES.items() if name in curve},
        "spots": spots(stage.report.metrics),
    }


def spots(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Where the thresholds of reported numbers lie on a curve."""
    return [
        {
            "x": metric.threshold,
            "y": metric.value,
            "name": f"{metric.protocol.threshold} at {metric.threshold:g}: {100 * metric.value:.1f}",
            "filled": metric.protocol.threshold == "best of sweep",
        }
        for metric in metrics
        if metric.threshold is not None
    ]


def _losses(stage: StageRecord) -> dict[str, Any]:
    assert stage.report is not None
    assert stage.report.losses is not None
    logged = dict(stage.report.losses)
    iterations = logged.pop("iteration", [])
    return {
        "stage": stage.name,
        "iteration": iterations,
        "losses": {name: values for name, values in logged.items() if "loss" in name},
        "others": {name: values for name, values in logged.items() if "loss" not in name},
    }


def _validation(stage: StageRecord) -> dict[str, Any]:
    assert stage.report is not None
    assert stage.report.validation is not None
    found = dict(stage.report.validation)
    iterations = found.pop("iteration", [])
    return {
        "stage": stage.name,
        "iteration": iterations,
        "mIoU": {name: values for name, values in found.items() if not name.endswith("_threshold")},
    }
