"""Two or more runs side by side: what differs in their numbers, and what in how these came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.record import DatasetRecord, RunRecord
from harness.report import Metric
from leaderboard.board import Column, column_of, sort_columns

_MISSING = "-"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in all runs.

    Attributes:
        name: dotted path, as `stages.cam.train_cfg.max_epochs` or `environment.packages.torch`.
        values: per run, as text; `-` where a run does not have it.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class NumberComparison:
    """One number of all runs.

    Attributes:
        metrics: per run; None where a run does not have it.
    """

    column: Column
    metrics: tuple[Metric | None, ...]

    def difference(self, run: int) -> float | None:
        """Value of a run minus that of the first one, a fraction; None where one of them is missing."""
        first, other = self.metrics[0], self.metrics[run]
        return other.value - first.value if first and other else None

    def outside(self, run: int) -> bool | None:
        """Whether a run's value and the first one's lie outside each other's interval.

        None where one of them is missing or has no interval.
        """
        first, other = self.metrics[0], self.metrics[run]
        if not first or not other or first.interval is None or other.interval is None:
            return None
        return not (_within(other.value, first.interval) or _within(first.value, other.interval))


@dataclass(frozen=True)
class Comparison:
    """What differs between runs; the first one is what the others are compared with.

    Attributes:
        runs: the records.
        numbers: in the order of the pipeline.
        unfair: why numbers do not mean the same: data, protocol, shortening.
        origin: differences in weights, seed, code, environment and hardware.
        config: differences in the configs.
    """

    runs: tuple[RunRecord, ...]
    numbers: tuple[NumberComparison, ...]
    unfair: tuple[str, ...]
    origin: tuple[Difference, ...]
    config: tuple[Difference, ...]


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Compare runs with the first of them."""
    numbers = _numbers(runs)
    return Comparison(
        runs=tuple(runs),
        numbers=numbers,
        unfair=(*_unfair_data(runs), *_unfair_protocols(numbers)),
        origin=tuple(differences([_origin(run, _common_packages(runs)) for run in runs])),
        config=tuple(differences([run.config for run in runs])),
    )


def differences(documents: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """What nested mappings differ in, by dotted path; lists are compared as a whole."""
    flat = [dict(_flatten(document)) for document in documents]
    names = dict.fromkeys(name for document in flat for name in document)
    found = []
    for name in names:
        values = tuple(_text(document[name]) if name in document else _MISSING for document in flat)
        if len(set(values)) > 1:
            found.append(Difference(name, values))
    return sorted(found, key=lambda difference: difference.name)


def _flatten(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    return _MISSING if value is None else str(value)


def _within(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def _numbers(runs: Sequence[RunRecord]) -> tuple[NumberComparison, ...]:
    found: list[dict[str, Metric]] = []
    for run in runs:
        metrics: dict[str, Metric] = {}
        for metric in run.metrics:
            metrics.setdefault(column_of(metric).id, metric)
        found.append(metrics)
    columns = sort_columns(column_of(metric) for run in runs for metric in run.metrics)
    return tuple(
        NumberComparison(column, tuple(metrics.get(column.id) for metrics in found)) for column in columns
    )


def _unfair_data(runs: Sequence[RunRecord]) -> Iterable[str]:
    datasets = [run.dataset for run in runs]
    if len({dataset.name for dataset in datasets}) > 1:
        yield f"other datasets: {' against '.join(dataset.name for dataset in datasets)}"
    else:
        yield from _unfair_fingerprints(datasets)
    for split in sorted({split for dataset in datasets for split in dataset.images}):
        counts = [dataset.images.get(split) for dataset in datasets]
        if len({count for count in counts if count is not None}) > 1:
            yield f"other images of {split}: {' against '.join(map(_text, counts))}"
    marks = [", ".join(run.marks) or "full run" for run in runs]
    if len(set(marks)) > 1:
        yield f"other kinds of run: {' against '.join(marks)}"


def _unfair_fingerprints(datasets: Sequence[DatasetRecord]) -> Iterable[str]:
    """Other data in what all runs use; records of before hold one fingerprint of all their splits."""
    shared = set.intersection(*({*dataset.split_fingerprints} for dataset in datasets))
    for split in sorted(shared):
        prints = [dataset.split_fingerprints[split] for dataset in datasets]
        if len(set(prints)) > 1:
            yield f"other data in {split}: fingerprint {' against '.join(name[:8] for name in prints)}"
    if not shared and len({dataset.fingerprint for dataset in datasets}) > 1:
        prints = [dataset.fingerprint for dataset in datasets]
        yield f"other data: fingerprint {' against '.join(name[:8] for name in prints)}"


def _unfair_protocols(numbers: Iterable[NumberComparison]) -> Iterable[str]:
    for number in numbers:
        found = differences([_protocol(metric) for metric in number.metrics if metric])
        if found:
            said = ", ".join(f"{item.name} {' against '.join(item.values)}" for item in found)
            yield f"other protocol of {number.column.label}: {said}"


def _protocol(metric: Metric) -> dict[str, Any]:
    """What a number is over and how it was counted; how predictions were made is the method's affair."""
    sweep = {"sweep": metric.protocol.details["sweep"]} if "sweep" in metric.protocol.details else {}
    return metric.protocol.model_dump(mode="json", exclude={"details"}) | sweep


def _common_packages(runs: Sequence[RunRecord]) -> set[str]:
    return set.intersection(*(set(run.environment.packages) for run in runs))


def _origin(run: RunRecord, common: set[str]) -> dict[str, Any]:
    """What a run came from, beside its method, config and data.

    Packages that not all runs have (development tools, mostly) are named in one line.
    """
    environment, hardware = run.environment, run.hardware
    return {
        "seed": run.seed,
        "weights": {weights.name: (weights.sha256 or "random numbers")[:14] for weights in run.weights},
        "code": {
            "version": run.code.version,
            "commit": run.code.commit and run.code.commit[:10],
            "source": run.code.source_hash[:10],
        },
        "executor": environment.executor,
        "image": environment.image,
        "python": environment.python,
        "packages": {name: environment.packages[name] for name in sorted(common)},
        "other packages": ", ".join(sorted(set(environment.packages) - common)) or None,
        "hardware": hardware.model_dump(mode="json", exclude={"gpus"})
        | {"gpus": ", ".join(gpu.name for gpu in hardware.gpus) or None},
    }
