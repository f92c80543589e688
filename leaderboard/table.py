"""The leaderboard: one row per run, from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

from rich.table import Table

from harness.record import RunRecord
from harness.report import Metric
from harness.watch import duration

_GIB = 1 << 30
_TEXT_COLUMNS = ("method", "dataset", "notes", "run")


@dataclass(frozen=True)
class Row:
    """One run of the leaderboard, or several that reused all of it, as text; all mIoU values in percent.

    Attributes:
        seed: CAMs at the best threshold of the sweep, which is given too.
        seed_fixed: CAMs at the method's own threshold.
        pseudo: masks that the segmentation network was trained on.
        seg, seg_crf: segmentation network, alone and with the method's CRF.
        time: wall time of all stages, those included that an earlier run had done.
        memory: highest peak of host memory over the stages.
        energy: of the GPUs.
        notes: why the row is not that of a full run.
    """

    method: str
    dataset: str
    seed: str
    seed_fixed: str
    pseudo: str
    seg: str
    seg_crf: str
    time: str
    memory: str
    energy: str
    notes: str
    run: str


HEADERS = {
    "seed": "seed (best)",
    "seed_fixed": "seed (fixed)",
    "seg_crf": "seg+CRF",
}


def leaderboard_rows(records: Iterable[RunRecord]) -> list[Row]:
    """Rows of finished runs per dataset, best first; shortened runs come after full ones.

    Runs whose stages have the same keys are the same work done once: the one with the most numbers stands
    for all of them, the latest of several.
    """
    best: dict[tuple[str, str | None, frozenset[str]], RunRecord] = {}
    for record in records:
        same = (record.method, record.variant, frozenset(stage.key for stage in record.stages))
        finished = record.state == "done" and record.metrics
        if finished and (same not in best or _replaces(record, best[same])):
            best[same] = record
    return [_row(record) for record in sorted(best.values(), key=_order)]


def _replaces(record: RunRecord, other: RunRecord) -> bool:
    return (len(record.metrics), record.started) >= (len(other.metrics), other.started)


def _order(record: RunRecord) -> tuple[str, bool, float]:
    best = max(
        (metric.value for metric in record.metrics if metric.number in ("seg", "seg_crf")), default=0.0
    )
    seed = max((metric.value for metric in record.metrics if metric.number == "seed"), default=0.0)
    # Methods without a segmentation stage rank below those with one, by their seeds.
    return record.dataset.name, bool(record.marks), -(best or seed - 1)


def _row(record: RunRecord) -> Row:
    reports = [stage.report for stage in record.stages if stage.report]
    memory = max((report.measurements.host_memory_peak_bytes for report in reports), default=0)
    energy = [joules for report in reports if (joules := report.measurements.gpu_energy_joules) is not None]
    return Row(
        method=record.method + (f" ({record.variant})" if record.variant else ""),
        dataset=record.dataset.name,
        seed=_cell(record, "seed", "best of sweep"),
        seed_fixed=_cell(record, "seed", "fixed"),
        pseudo=_cell(record, "pseudo"),
        seg=_cell(record, "seg"),
        seg_crf=_cell(record, "seg_crf"),
        time=duration(sum(report.seconds for report in reports)),
        memory=f"{memory / _GIB:.1f} GiB" if memory else "-",
        energy=f"{sum(energy) / 3600:.0f} Wh" if energy else "-",
        notes=", ".join(record.marks) or "-",
        run=record.run_id,
    )


def _cell(record: RunRecord, number: str, chosen: str = "none") -> str:
    metric = _find(record, number, chosen)
    if metric is None:
        return "-"
    return f"{100 * metric.value:.1f}" + (f" @{metric.threshold:g}" if metric.threshold is not None else "")


def _find(record: RunRecord, number: str, chosen: str) -> Metric | None:
    return next((m for m in record.metrics if m.number == number and m.protocol.threshold == chosen), None)


def render_markdown(rows: Sequence[Row]) -> str:
    """The leaderboard as a Markdown table."""
    names = [field.name for field in fields(Row)]
    lines = [
        "| " + " | ".join(HEADERS.get(name, name) for name in names) + " |",
        "|" + "|".join("---" if name in _TEXT_COLUMNS else "---:" for name in names) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in astuple(row)) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def render_terminal(rows: Sequence[Row], title: str) -> Table:
    """The leaderboard as a table for the terminal, without what is the same in every row."""
    table = Table(title=title, title_justify="left", padding=(0, 0), pad_edge=False)
    shown = [field.name for field in fields(Row) if field.name not in ("dataset", "run")]
    shown = [name for name in shown if any(getattr(row, name) != "-" for row in rows)]
    for name in shown:
        table.add_column(
            HEADERS.get(name, name), justify="left" if name in _TEXT_COLUMNS else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(getattr(row, name) for name in shown))
    return table
