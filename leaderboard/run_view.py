"""One run in a terminal: state, stages, numbers with their protocol, classes, costs, logs."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.record import RunRecord, StageRecord
from harness.report import Metric
from harness.watch import duration
from leaderboard.board import column_of
from leaderboard.costs import costs_of, hardware_name
from leaderboard.runs import FoundRun
from leaderboard.wording import gibibytes, rate, watt_hours

_COLOURS = {
    "done": "green",
    "reused": "green",
    "running": "yellow",
    "waiting": "dim",
    "interrupted": "yellow",
}


def run_view(found: FoundRun) -> Group:
    """Everything that a user wants to know of a run."""
    run = found.record
    parts: list[RenderableType] = [_summary(found), Text(), _stages_table(run)]
    if run.metrics:
        parts += [_numbers_table(run), _classes_table(run.metrics)]
    parts += [_validation_table(stage) for stage in run.stages if stage.report and stage.report.validation]
    parts.append(_files(found))
    return Group(*parts)


def _summary(found: FoundRun) -> Table:
    run = found.record
    costs = costs_of([run])
    variant = f" ({run.variant})" if run.variant else ""
    dataset = f"{run.dataset.name}, {'official' if run.dataset.official else 'custom'}"
    images = ", ".join(f"{split} {count}" for split, count in run.dataset.images.items())
    code = f"{run.code.version}, commit {(run.code.commit or 'unknown')[:10]}"
    facts: list[tuple[str, str | Text]] = [
        ("run", Text(run.run_id, style="bold")),
        ("state", _state(run)),
        ("method", f"{run.method}{variant}: {run.title}" if run.title else f"{run.method}{variant}"),
        ("dataset", f"{dataset}, images: {images}, fingerprint {run.dataset.fingerprint[:8]}"),
        *(("note", notice) for notice in run.dataset.notices),
        ("kind", f"not a full run: {', '.join(run.marks)}" if run.marks else "full run"),
        *(("", f"--set {override}") for override in run.overrides),
        ("seed", str(run.seed)),
        ("weights", ", ".join(_weights(run)) or "random numbers, as the config says"),
        ("code", code + (", with uncommitted changes" if run.code.dirty else "")),
        ("executor", ", ".join(filter(None, (run.environment.executor, run.environment.image)))),
        ("machine", f"{hardware_name(run.hardware)}, {run.hardware.os}"),
        ("time", f"{duration(costs.seconds)} in stages" + _clock(run)),
        (
            "peaks",
            f"host memory {gibibytes(costs.host_memory_peak_bytes)}, GPU memory "
            f"{gibibytes(costs.gpu_memory_peak_bytes)}, GPU energy {watt_hours(costs.gpu_energy_joules)}",
        ),
    ]
    if run.error:
        facts.insert(2, ("error", Text(run.error, style="red", overflow="fold")))
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        table.add_row(
            Text(name, style="dim"), value if isinstance(value, Text) else Text(value, overflow="fold")
        )
    return table


def _state(run: RunRecord) -> Text:
    text = Text(run.state, style=_COLOURS.get(run.state, "red"))
    if run.state == "running":
        text.append(" (or killed: a record is closed by its harness only)", style="dim")
    return text


def _weights(run: RunRecord) -> list[str]:
    return [
        f"{weights.name} ({weights.sha256[:8]})" if weights.sha256 else f"{weights.name}: random numbers"
        for weights in run.weights
    ]


def _clock(run: RunRecord) -> str:
    began = f", started {run.started:%Y-%m-%d %H:%M:%S} UTC"
    return began + (f", ended {run.ended:%Y-%m-%d %H:%M:%S} UTC" if run.ended else "")


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=0)
    for position, name in enumerate(columns):
        table.add_column(name, justify="left" if position < left else "right", overflow="fold")
    return table


def _stages_table(run: RunRecord) -> Table:
    """The plan in its order, with what each stage measured."""
    table = _table(
        "stages", "stage", "type", "state", "inputs", "time", "images/s", "host", "GPU", "key", left=4
    )
    for stage in run.stages:
        report = stage.report
        table.add_row(
            stage.name,
            stage.type,
            Text(stage.state, style=_COLOURS.get(stage.state, "red")),
            ", ".join(dict.fromkeys(stage.inputs.values())) or "-",
            duration(report.seconds) if report else "-",
            rate(report.images_per_second) if report else "-",
            gibibytes(report.measurements.host_memory_peak_bytes) if report else "-",
            gibibytes(report.measurements.gpu_memory_peak_bytes) if report else "-",
            stage.key[:8],
        )
    return table


def _validation_table(stage: StageRecord) -> Table:
    """What a training scored on its way; thresholds stand behind the mIoU that they belong to."""
    assert stage.report is not None
    found = dict((stage.report.validation or {}).items())
    iterations = found.pop("iteration", [])
    names = [name for name in found if not name.endswith("_threshold")]
    table = _table(f"mIoU (%) while {stage.name} trains", "iteration", *names, left=0)
    for place, iteration in enumerate(iterations):
        cells = []
        for name in names:
            value = found[name][place]
            threshold = found.get(f"{name}_threshold", [None] * len(iterations))[place]
            at = "" if threshold is None else f" at {threshold:g}"
            cells.append("-" if value is None else f"{100 * value:.2f}{at}")
        table.add_row(f"{iteration:g}", *cells)
    return table


def _numbers_table(run: RunRecord) -> Table:
    table = _table("numbers", "number", "mIoU (%)", "threshold", "protocol")
    table.columns[3].justify = "left"
    for metric in run.metrics:
        value = f"{100 * metric.value:.2f}"
        if metric.interval:
            value += " [{:.1f}, {:.1f}]".format(*(100 * end for end in metric.interval))
        threshold = "-" if metric.threshold is None else f"{metric.threshold:g}"
        table.add_row(column_of(metric).label, value, threshold, _protocol(metric))
    return table


def _protocol(metric: Metric) -> str:
    protocol = metric.protocol
    parts = [f"{protocol.split}, {protocol.images} images, against {protocol.ground_truth}"]
    parts += [f"{name}: {_plain(value)}" for name, value in protocol.details.items()]
    if metric.excluded:
        parts.append(f"without {', '.join(metric.excluded)}")
    return "; ".join(parts)


def _plain(value: Any) -> str:
    """A detail of a protocol in a few words: `MultiScaleCAM scales=[1.0, 2.0]`."""
    if not isinstance(value, dict):
        return str(value)
    kind = [str(value["type"])] if "type" in value else []
    return " ".join(kind + [f"{name}={_plain(item)}" for name, item in value.items() if name != "type"])


def _classes_table(metrics: list[Metric]) -> Table:
    """IoU per class for each number; precision and recall of the last one."""
    shown = {column_of(metric).id: metric for metric in reversed(metrics)}
    numbers = list(reversed(shown.values()))
    last = numbers[-1]
    detailed = bool(last.precision and last.recall)
    labels = [column_of(metric).label for metric in numbers]
    more = [f"{labels[-1]} precision", f"{labels[-1]} recall"] if detailed else []
    table = _table("IoU (%) per class", "class", *labels, *more)
    for name in numbers[0].per_class:
        values = [metric.per_class.get(name) for metric in numbers]
        values += [last.precision.get(name), last.recall.get(name)] if detailed else []
        table.add_row(name, *("-" if value is None else f"{100 * value:.1f}" for value in values))
    return table


def _files(found: FoundRun) -> Group:
    """Where the record, the logs and the artifacts are, as far as they are there."""
    lines = [Text(f"record     {found.path}", overflow="fold")]
    for stage in found.record.stages:
        log = found.folder / "logs" / f"{stage.name}.log"
        if log.is_file():
            lines.append(
                Text(f"log        {log}", style="red" if stage.state == "failed" else "", overflow="fold")
            )
    if found.work is not None:
        lines.append(Text(f"artifacts  {found.work / 'artifacts'}/KEY", overflow="fold"))
    return Group(*lines)
