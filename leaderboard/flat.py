"""The leaderboard as CSV: one row per number of a run, unrounded, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from leaderboard.board import Board, Column, DatasetBoard, Entry, fraction, published_column

FIELDS = (
    "dataset",
    "source",
    "method",
    "variant",
    "title",
    "network",
    "rank",
    "marks",
    "entry",
    "number",
    "split",
    "threshold_choice",
    "threshold",
    "miou",
    "published_miou",
    "published_comparable",
    "images",
    "run_id",
    "seed",
    "started",
    "commit",
    "hardware",
    "seconds",
    "gpu_seconds",
    "train_images_per_second",
    "infer_images_per_second",
    "gpu_memory_peak_bytes",
    "host_memory_peak_bytes",
    "gpu_energy_joules",
)


def render_csv(board: Board, *, published: bool = False) -> str:
    """All numbers of all runs of the board.

    mIoU values are fractions. `source` is `ours`, or where a published number is from. An empty field is a
    value that does not exist. `entry` is the same for runs that belong together: their mean is
    `frame.groupby(["entry", "number", "threshold_choice", "split"]).miou.mean()`.

    Args:
        board: the leaderboard.
        published: add a row per published number.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in board.datasets:
        for entry in table.entries:
            writer.writerows(_rows(table, entry))
        if published:
            writer.writerows(_published(table))
    return text.getvalue()


def _rows(table: DatasetBoard, entry: Entry) -> Iterator[dict[str, Any]]:
    runs = {run.run_id: run for run in entry.runs}
    for column in table.columns:
        cell, paper = entry.cells.get(column.id), entry.papers.get(column.id)
        for run_id, value in cell.values.items() if cell else ():
            run = runs[run_id]
            yield {
                "dataset": table.dataset,
                "source": "ours",
                "method": entry.method,
                "variant": entry.variant,
                "title": entry.title,
                "network": entry.network,
                "rank": entry.rank,
                "marks": "; ".join(entry.marks),
                "entry": entry.id,
                **_place(column),
                "threshold": cell.thresholds.get(run_id) if cell else None,
                "miou": value,
                "published_miou": paper.value if paper else None,
                "published_comparable": paper.number.comparable if paper else None,
                "images": cell.protocol.images if cell else None,
                "run_id": run_id,
                "seed": run.seed,
                "started": run.started.isoformat(),
                "commit": run.commit,
                **run.costs.model_dump(exclude={"runs"}),
            }


def _published(table: DatasetBoard) -> Iterator[dict[str, Any]]:
    for result in table.published:
        for number in result.numbers:
            yield {
                "dataset": table.dataset,
                "source": number.source,
                "method": result.method,
                "variant": result.variant,
                "title": result.name,
                "network": result.network,
                **_place(published_column(number)),
                "threshold": number.threshold,
                "miou": fraction(number.value),
            }


def _place(column: Column) -> dict[str, str]:
    return {"number": column.number, "split": column.split, "threshold_choice": column.chosen}
