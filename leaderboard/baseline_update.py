"""A new baseline from finished runs: only from runs that repeat each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from harness.errors import InputError
from harness.record import RunRecord
from leaderboard.baseline import (
    MIN_RUNS,
    Baseline,
    BaselineRun,
    CostValues,
    NumberValues,
    Provenance,
    Rule,
    numbers_of,
    run_costs,
    stage_seconds_of,
)

# What the runs of a baseline must share: its name for people, and where a record has it.
_SHARED: dict[str, Callable[[RunRecord], Any]] = {
    "method": lambda record: (record.method, record.variant),
    "dataset": lambda record: record.dataset.name,
    "data": lambda record: (record.dataset.fingerprint, record.dataset.images),
    "config": lambda record: record.config,
    "limit": lambda record: (record.limit, record.smoke),
    "weights": lambda record: sorted((w.name, w.sha256 or "") for w in record.weights),
    "auxiliary maps": lambda record: record.auxiliary,
    "source": lambda record: record.code.source_hash,
    "commit": lambda record: record.code.commit,
    "environment": lambda record: record.environment.identity,
    "hardware": lambda record: record.hardware,
    "numbers": lambda record: set(numbers_of(record)),
    "costs": lambda record: set(run_costs(record)),
}


def make_baseline(
    records: Sequence[RunRecord], *, made_by: str, made_at: datetime, rule: Rule, allow_dirty: bool = False
) -> Baseline:
    """A baseline from runs of one recipe that differ in nothing but the seed.

    Args:
        records: the runs, each once.
        made_by: who vouches for them.
        rule: how wide bands are.
        allow_dirty: take runs of a work tree that is not that of a commit; the baseline says so.

    Raises:
        InputError: too few runs, runs that do not repeat each other, did not measure all themselves, or do
            not belong to a commit.
    """
    if len(records) < MIN_RUNS:
        raise InputError(
            f"a baseline needs at least {MIN_RUNS} runs for its bands, not {len(records)}: repeat the run "
            "with other seeds and name them all with --run"
        )
    for record in records:
        _require_measured(record, allow_dirty)
    _require_repetitions(records)
    first = records[0]
    numbers, costs, seconds = (
        [numbers_of(record) for record in records],
        [run_costs(record) for record in records],
        [stage_seconds_of(record) for record in records],
    )
    return Baseline(
        method=first.method,
        variant=first.variant,
        dataset=first.dataset.name,
        fingerprint=first.dataset.fingerprint,
        images=first.dataset.images,
        limit=first.limit,
        smoke=first.smoke,
        weights=first.weights,
        auxiliary=first.auxiliary,
        config=first.config,
        rule=rule,
        runs=[BaselineRun(run_id=r.run_id, seed=r.seed, started=r.started) for r in records],
        numbers=[NumberValues(id=key, values=[run[key] for run in numbers]) for key in numbers[0]],
        costs=[CostValues(name=name, values=[run[name] for run in costs]) for name in costs[0]],
        stage_seconds={name: [run[name] for run in seconds] for name in seconds[0]},
        provenance=_provenance(first, made_by, made_at),
    )


def _provenance(record: RunRecord, made_by: str, made_at: datetime) -> Provenance:
    return Provenance(
        made_by=made_by,
        made_at=made_at,
        version=record.code.version,
        commit=record.code.commit,
        dirty=record.code.dirty,
        source_hash=record.code.source_hash,
        executor=record.environment.executor,
        python=record.environment.python,
        packages=record.environment.packages,
        hardware=record.hardware,
    )


def _require_measured(record: RunRecord, allow_dirty: bool) -> None:
    """Refuse a run that cannot vouch for its own numbers and costs."""
    if record.state != "done" or not record.metrics:
        raise InputError(
            f"run {record.run_id} has no numbers (it is {record.state}): a baseline needs finished runs"
        )
    if reused := [stage.name for stage in record.stages if stage.state != "done"]:
        raise InputError(
            f"run {record.run_id} did not do {', '.join(reused)} itself, so their time is another run's: "
            "repeat it with --force or another --seed"
        )
    if record.code.commit is None and not allow_dirty:
        raise InputError(
            f"run {record.run_id} belongs to no commit, because it was not made in a git checkout: run it in "
            "one, or take it as it is with --allow-dirty"
        )
    if record.code.dirty and not allow_dirty:
        raise InputError(
            f"run {record.run_id} was made with uncommitted changes on top of {record.code.commit}: commit "
            "them and run again, or take it as it is with --allow-dirty"
        )


def _require_repetitions(records: Sequence[RunRecord]) -> None:
    """Refuse runs that do not differ in the seed and chance alone."""
    first = records[0]
    for record in records[1:]:
        differ = [name for name, look in _SHARED.items() if look(record) != look(first)]
        if differ:
            raise InputError(
                f"runs {first.run_id} and {record.run_id} are no repetitions of each other: they differ in "
                f"{', '.join(differ)}; name runs of one recipe, commit and machine"
            )
