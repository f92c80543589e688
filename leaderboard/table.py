"""The leaderboard: one row per run, from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from harness.record import RunRecord
from harness.report import Metric
from harness.watch import duration

HEADER = (
    "method", "dataset", "seed", "pseudo", "seg", "seg+CRF", "time", "peak memory", "energy", "run", "marks",
)  # fmt: skip
_NUMERIC = {"seed", "pseudo", "seg", "seg+CRF", "time", "peak memory", "energy"}
_GIB = 1 << 30


@dataclass(frozen=True)
class Row:
    """One run of the leaderboard, as text."""

    cells: tuple[str, ...]

    def markdown(self) -> str:
        """The row in Markdown."""
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in self.cells) + " |"


def leaderboard_rows(records: Iterable[RunRecord]) -> list[Row]:
    """Rows of finished runs per dataset, best segmentation first; shortened runs come after full ones."""
    finished = [record for record in records if record.state == "done" and record.metrics]
    return [_row(record) for record in sorted(finished, key=_order)]


def _order(record: RunRecord) -> tuple[str, bool, float]:
    best = max(
        (metric.value for metric in record.metrics if metric.number in ("seg", "seg_crf")), default=0.0
    )
    seed = max((metric.value for metric in record.metrics if metric.number == "seed"), default=0.0)
    return record.dataset.name, bool(record.marks), -(best or seed / 1000)


def _row(record: RunRecord) -> Row:
    method = record.method + (f" ({record.variant})" if record.variant else "")
    reports = [stage.report for stage in record.stages if stage.report]
    memory = max((report.measurements.host_memory_peak_bytes for report in reports), default=0)
    energy = [joules for report in reports if (joules := report.measurements.gpu_energy_joules) is not None]
    return Row(
        (
            method,
            record.dataset.name,
            _seed_cell(record),
            *(_cell(record, number) for number in ("pseudo", "seg", "seg_crf")),
            duration(sum(report.seconds for report in reports)),
            f"{memory / _GIB:.1f} GiB" if memory else "-",
            f"{sum(energy) / 3600:.0f} Wh" if energy else "-",
            record.run_id,
            ", ".join(record.marks) or "-",
        )
    )


def _seed_cell(record: RunRecord) -> str:
    best = _find(record, "seed", "best of sweep")
    fixed = _find(record, "seed", "fixed")
    if best is None or fixed is None:
        return "-"
    return f"{100 * best.value:.1f} @{best.threshold:g} (fixed {fixed.threshold:g}: {100 * fixed.value:.1f})"


def _cell(record: RunRecord, number: str) -> str:
    metric = _find(record, number, "none")
    return f"{100 * metric.value:.1f}" if metric else "-"


def _find(record: RunRecord, number: str, chosen: str) -> Metric | None:
    return next(
        (m for m in record.metrics if m.number == number and m.protocol.threshold == chosen),
        None,
    )


def render_markdown(rows: Sequence[Row]) -> str:
    """The leaderboard as a Markdown table."""
    lines = [
        "| " + " | ".join(HEADER) + " |",
        "|" + "|".join("---:" if name in _NUMERIC else "---" for name in HEADER) + "|",
        *(row.markdown() for row in rows),
    ]
    return "\n".join(lines) + "\n"


def render_terminal(rows: Sequence[Row]) -> Table:
    """The leaderboard as a table for the terminal."""
    table = Table(title="mIoU (%)", title_justify="left")
    for name in HEADER:
        table.add_column(name, justify="right" if name in _NUMERIC else "left", overflow="fold")
    for row in rows:
        table.add_row(*row.cells)
    return table
