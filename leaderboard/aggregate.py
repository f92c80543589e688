"""From records to a `Board`: means over seeds, published numbers beside them, ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from harness.record import RunRecord
from harness.report import Metric
from leaderboard.board import (
    Board,
    Cell,
    Column,
    DatasetBoard,
    Entry,
    PaperValue,
    RunReference,
    column_of,
    fraction,
    percent,
    published_column,
    sort_columns,
)
from leaderboard.costs import costs_of, hardware_name
from leaderboard.grouping import Setup, final_network, group_runs
from leaderboard.published import Published, PublishedResult, read_published

Groups = Mapping[Setup, Sequence[RunRecord]]


def make_board(records: Iterable[RunRecord], published: Published | None = None) -> Board:
    """Sum up the finished runs among `records`.

    Args:
        records: of any state, method and dataset, in any order.
        published: the numbers to compare with; those that come with this package unless given.
    """
    published = published or read_published()
    groups = group_runs(records)
    names = {setup.dataset for setup in groups} | {result.dataset for result in published.results}
    return Board(
        datasets=tuple(
            _dataset_board(
                name,
                {setup: runs for setup, runs in groups.items() if setup.dataset == name},
                published.of_dataset(name),
            )
            for name in sorted(names)
        ),
        methods=published.methods,
        papers=published.papers,
    )


def score(entry: Entry) -> tuple[int, float]:
    """What entries are ranked by, the higher the better, as it reads in the table.

    The best `seg` or `seg_crf` counts; methods without a segmentation come after all that have one, by
    their pseudo masks, those without pseudo masks by their seeds, and those that only localise by that.
    """
    localization = ("loc_best", "loc_best_val"), ("loc_fixed", "loc_fixed_val")
    tiers = (("seg", "seg_fixed", "seg_crf"), ("pseudo",), ("seed_best",), ("seed_fixed",), *localization)
    for tier, columns in enumerate(tiers):
        values = [percent(entry.cells[name].mean) for name in columns if name in entry.cells]
        if values:
            return len(tiers) - tier, max(values)
    return 0, 0.0


def _dataset_board(dataset: str, groups: Groups, results: tuple[PublishedResult, ...]) -> DatasetBoard:
    columns: dict[str, Column] = {}
    entries = _with_notes([_entry(setup, runs, results, columns) for setup, runs in groups.items()])
    full = sorted((entry for entry in entries if not entry.marks), key=_sort_key)
    best = {
        name: max(percent(entry.cells[name].mean) for entry in full if name in entry.cells)
        for name in {name for entry in full for name in entry.cells}
    }
    return DatasetBoard(
        dataset=dataset,
        columns=sort_columns(columns.values()),
        ranked=tuple(_placed(entry, rank, best) for entry, rank in zip(full, _ranks(full))),
        unranked=tuple(sorted((entry for entry in entries if entry.marks), key=_sort_key)),
        published=results,
    )


def _sort_key(entry: Entry) -> tuple[int, float, str, float]:
    tier, value = score(entry)
    latest = max(run.started.timestamp() for run in entry.runs)
    return -tier, -value, entry.name, -latest


def _ranks(entries: Sequence[Entry]) -> list[int]:
    """1, 1, 3, … for sorted entries of which the first two read the same."""
    scores = [score(entry) for entry in entries]
    return [scores.index(value) + 1 for value in scores]


def _placed(entry: Entry, rank: int, best: Mapping[str, float]) -> Entry:
    cells = {
        name: cell.model_copy(update={"best": percent(cell.mean) == best[name]})
        for name, cell in entry.cells.items()
    }
    return entry.model_copy(update={"rank": rank, "cells": cells})


def _entry(
    setup: Setup, runs: Sequence[RunRecord], results: Sequence[PublishedResult], columns: dict[str, Column]
) -> Entry:
    """The entry of a group of runs; its columns are added to `columns`."""
    latest = max(runs, key=lambda run: run.started)
    found: dict[str, dict[str, Metric]] = {}
    for run in runs:
        for metric in run.metrics:
            place = columns.setdefault(column_of(metric).id, column_of(metric))
            # A second number of the same kind in one run has another protocol: the first one counts.
            found.setdefault(place.id, {}).setdefault(run.run_id, metric)
    papers = {} if setup.marks else _papers(setup, results)
    columns.update(
        {published_column(value.number).id: published_column(value.number) for value in papers.values()}
    )
    aspects = {name: getattr(setup, name) for name in ("config", "data", "weights", "code")}
    marks = [mark.replace(" ", "-") for mark in setup.marks]
    return Entry(
        id="-".join(filter(None, [setup.method, setup.variant, setup.dataset, *aspects.values(), *marks])),
        method=setup.method,
        variant=setup.variant or None,
        title=latest.title or setup.method,
        network=final_network(latest),
        setup=aspects,
        marks=setup.marks,
        overrides=tuple(latest.overrides),
        runs=tuple(_reference(run) for run in runs),
        cells={name: _cell(metrics, papers.get(name)) for name, metrics in found.items()},
        papers=papers,
        costs=costs_of(runs),
    )


def _reference(run: RunRecord) -> RunReference:
    return RunReference(
        run_id=run.run_id,
        seed=run.seed,
        started=run.started,
        commit=run.code.commit,
        dirty=run.code.dirty,
        hardware=hardware_name(run.hardware),
        executor=run.environment.executor,
        costs=costs_of([run]),
    )


def _cell(metrics: Mapping[str, Metric], paper: PaperValue | None) -> Cell:
    values = {run: metric.value for run, metric in metrics.items()}
    first = next(iter(metrics.values()))
    mean = fmean(values.values())
    return Cell(
        values=values,
        mean=mean,
        std=stdev(values.values()) if len(values) > 1 else None,
        thresholds={run: metric.threshold for run, metric in metrics.items() if metric.threshold is not None},
        per_class={name: _class_mean(metrics.values(), name) for name in first.per_class},
        interval=first.interval if len(values) == 1 else None,
        protocol=first.protocol,
        difference=mean - paper.value if paper is not None and paper.number.comparable else None,
    )


def _class_mean(metrics: Iterable[Metric], name: str) -> float | None:
    known = [value for metric in metrics if (value := metric.per_class.get(name)) is not None]
    return fmean(known) if known else None


def _papers(setup: Setup, results: Sequence[PublishedResult]) -> dict[str, PaperValue]:
    """The published values of a method by column: a comparable one if there is one, else the first."""
    found: dict[str, PaperValue] = {}
    for result in results:
        if (result.method, result.variant or "") != (setup.method, setup.variant):
            continue
        for number in result.numbers:
            place = published_column(number).id
            if place not in found or (number.comparable and not found[place].number.comparable):
                found[place] = PaperValue(
                    name=result.name,
                    network=result.network,
                    paper=result.paper,
                    value=fraction(number.value),
                    number=number,
                )
    return found


def _with_notes(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of the same method say what tells them apart, and each on how many machines its runs were."""
    peers: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
    for entry in entries:
        peers.setdefault((entry.name, entry.marks), []).append(entry)
    noted = []
    for entry in entries:
        notes = [
            f"{aspect} {value}"
            for aspect, value in entry.setup.items()
            if len({other.setup[aspect] for other in peers[entry.name, entry.marks]}) > 1
        ]
        machines = len({run.hardware for run in entry.runs})
        if machines > 1:
            notes.append(f"{machines} kinds of machine")
        noted.append(entry.model_copy(update={"notes": tuple(notes)}))
    return noted
