"""What the front page shows of a dataset beside its table: choices of its filters and data of its charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.record import RunRecord
from harness.report import Report
from leaderboard import wording
from leaderboard.board import Board, DatasetBoard, Entry
from leaderboard.costs import Costs
from leaderboard.site.formats import finite
from leaderboard.site.links import Links
from leaderboard.site.run_page import spots


@dataclass(frozen=True)
class Cost:
    """A kind of cost.

    Attributes:
        words: what the chart's choice calls it.
        field: of `Costs`.
        axis: units of the chart's axis and what they are of `field`, the largest first; the first that gives
            a number above 1 is taken.
    """

    words: str
    field: str
    axis: dict[str, float]


_MEMORY = {"GiB": float(1 << 30)}
COSTS = {
    "gpu_time": Cost("GPU time", "gpu_seconds", {"GPU-hours": 3600, "GPU-minutes": 60}),
    "time": Cost("time of all stages", "seconds", {"hours": 3600, "minutes": 60}),
    "gpu_memory": Cost("peak GPU memory", "gpu_memory_peak_bytes", _MEMORY),
    "host_memory": Cost("peak host memory", "host_memory_peak_bytes", _MEMORY),
    "energy": Cost("GPU energy", "gpu_energy_joules", {"kWh": 3.6e6, "Wh": 3600}),
}


def costs(measured: Costs) -> dict[str, float]:
    """What an entry cost, by the names of `COSTS`, in their fields' units; without what was not measured."""
    values = {name: getattr(measured, cost.field) for name, cost in COSTS.items()}
    return {name: value for name, value in values.items() if value}


def measured_costs(dataset: DatasetBoard) -> list[str]:
    """Names of the costs that some entry of a dataset has."""
    found = {name for entry in dataset.entries for name in costs(entry.costs)}
    return [name for name in COSTS if name in found]


@dataclass(frozen=True)
class CostCell:
    """Costs that stand in one column of the table: the value that sorts it, its text, and a second line."""

    value: float | None
    text: str
    below: str = ""


def cost_cells(measured: Costs) -> dict[str, CostCell]:
    """The table's cells of costs by the column's head."""
    gpu, host = measured.gpu_memory_peak_bytes, measured.host_memory_peak_bytes
    gpu_time = f"{wording.hours(measured.gpu_seconds)} GPU" if measured.gpu_seconds else ""
    joules = measured.gpu_energy_joules
    return {
        "time": CostCell(measured.seconds, wording.hours(measured.seconds), gpu_time),
        "memory": CostCell(gpu, wording.gibibytes(gpu), f"{wording.gibibytes(host)} host")
        if gpu
        else CostCell(host, wording.gibibytes(host), "host" if host else ""),
        "energy": CostCell(joules, wording.watt_hours(joules)),
    }


def cost_heads(dataset: DatasetBoard) -> list[str]:
    """Heads of the columns of costs that some entry of a dataset has something in."""
    cells = [cost_cells(entry.costs) for entry in dataset.entries]
    found = {head: None for row in cells for head, cell in row.items() if cell.value is not None}
    return list(found)


def chart_data(dataset: DatasetBoard, records: Mapping[str, RunRecord], links: Links) -> dict[str, Any]:
    """What the charts of a dataset are drawn from, as JSON.

    Args:
        records: by run id; the threshold curve of an entry is that of its first run.
        links: as seen from the front page.
    """
    classes = list(
        dict.fromkeys(
            name for entry in dataset.entries for cell in entry.cells.values() for name in cell.per_class
        )
    )
    document = {
        "columns": [{"id": column.id, "label": column.label} for column in dataset.columns],
        "classes": classes,
        "costs": {
            name: {"words": COSTS[name].words, "axis": COSTS[name].axis} for name in measured_costs(dataset)
        },
        "entries": [_entry(entry, classes, records, links) for entry in dataset.entries],
    }
    return finite(document)


def display_name(entry: Entry) -> str:
    """The method's title with the variant."""
    return entry.title + (f" ({entry.variant})" if entry.variant else "")


def choices(board: Board) -> dict[str, str]:
    """Methods that have entries, id and title, by title."""
    found = {entry.method: entry.title for dataset in board.datasets for entry in dataset.entries}
    return dict(sorted(found.items(), key=lambda item: item[1].casefold()))


def search_text(entry: Entry) -> str:
    """What the text search of the page looks in."""
    words = [
        display_name(entry),
        entry.method,
        entry.network or "",
        entry.costs.hardware,
        *entry.marks,
        *entry.notes,
        *entry.overrides,
        *(run.run_id for run in entry.runs),
    ]
    return " ".join(words).casefold()


def _entry(
    entry: Entry, classes: list[str], records: Mapping[str, RunRecord], links: Links
) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": display_name(entry),
        "href": links.entry(entry),
        "full": entry.rank is not None,
        "hardware": entry.costs.hardware,
        "values": {column: 100 * cell.mean for column, cell in entry.cells.items()},
        "classes": {
            column: [cell.per_class.get(name) for name in classes] for column, cell in entry.cells.items()
        },
        "costs": costs(entry.costs),
        "curve": _curve(records.get(entry.runs[0].run_id)),
    }


def _curve(record: RunRecord | None) -> dict[str, Any] | None:
    reports: list[Report] = [stage.report for stage in record.stages if stage.report] if record else []
    for report in reports:
        if report.curve and "mIoU" in report.curve:
            return {
                "x": report.curve["threshold"],
                "y": report.curve["mIoU"],
                "spots": spots(report.metrics),
            }
    return None
