"""What the front page shows of a dataset beside its table: choices of its filters and data of its charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.record import RunRecord
from harness.report import Report
from leaderboard import wording
from leaderboard.board import Board, DatasetBoard, Entry
from leaderboard.costs import Costs
from leaderboard.site.formats import MISSING, finite
from leaderboard.site.links import Links
from leaderboard.site.run_page import spots

_GIB = 1 << 30
_HOUR = 3600

COSTS = {
    "gpu_hours": "GPU-hours",
    "hours": "hours, all stages",
    "gpu_memory": "peak GPU memory, GiB",
    "host_memory": "peak host memory, GiB",
    "energy": "GPU energy, Wh",
}

COST_HEADS = {
    "gpu_hours": "GPU-hours",
    "hours": "time",
    "gpu_memory": "GPU memory",
    "host_memory": "host memory",
    "energy": "energy",
}


def costs(measured: Costs) -> dict[str, float]:
    """What an entry cost, by the names of `COSTS`; without what was not measured."""
    known = {
        "gpu_hours": (measured.gpu_seconds, _HOUR),
        "hours": (measured.seconds, _HOUR),
        "gpu_memory": (measured.gpu_memory_peak_bytes, _GIB),
        "host_memory": (measured.host_memory_peak_bytes, _GIB),
        "energy": (measured.gpu_energy_joules, _HOUR),
    }
    return {name: value / unit for name, (value, unit) in known.items() if value}


def cost_text(measured: Costs, name: str) -> str:
    """A cost as it stands in the table."""
    texts = {
        "gpu_hours": wording.hours(measured.gpu_seconds),
        "hours": wording.hours(measured.seconds),
        "gpu_memory": wording.gibibytes(measured.gpu_memory_peak_bytes),
        "host_memory": wording.gibibytes(measured.host_memory_peak_bytes),
        "energy": wording.watt_hours(measured.gpu_energy_joules),
    }
    return texts[name] if name in costs(measured) else MISSING


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


def measured_costs(dataset: DatasetBoard) -> dict[str, str]:
    """The costs that some entry of a dataset has, with what they are called."""
    found = {name for entry in dataset.entries for name in costs(entry.costs)}
    return {name: words for name, words in COSTS.items() if name in found}


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
