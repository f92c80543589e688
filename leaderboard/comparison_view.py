"""A comparison of runs as tables and bars in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_uppercase

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.record import RunRecord
from harness.report import Metric, Report
from harness.watch import duration
from leaderboard.board import Column
from leaderboard.comparison import Comparison, Difference, NumberComparison
from leaderboard.costs import Costs, costs_of
from leaderboard.wording import gibibytes, watt_hours

_BAR = 12  # characters on each side of a bar's middle


def comparison_view(comparison: Comparison) -> Group:
    """Everything of a comparison, what makes it unfair first."""
    names = [_letter(position) for position in range(len(comparison.runs))]
    parts: list[RenderableType] = [_runs_table(comparison.runs, names), Text()]
    if comparison.unfair:
        lines = "\n".join(f"  {reason}" for reason in comparison.unfair)
        parts.append(Text(f"These numbers do not mean the same:\n{lines}\n", style="bold yellow"))
    parts.append(_numbers_table(comparison, names))
    shared = [number for number in comparison.numbers if None not in number.metrics]
    if shared:
        parts.append(_classes_table(shared[-1], names))
    parts.append(_costs_table(comparison.runs, names))
    if comparison.origin:
        parts.append(_differences_table("origin", comparison.origin, names))
    parts.append(
        _differences_table("config", comparison.config, names)
        if comparison.config
        else Text("The configs are the same.")
    )
    return Group(*parts)


def _letter(position: int) -> str:
    return ascii_uppercase[position] if position < len(ascii_uppercase) else f"run {position + 1}"


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position else "left")
    return table


def _runs_table(runs: Sequence[RunRecord], names: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, run in zip(names, runs):
        variant = f" ({run.variant})" if run.variant else ""
        state = "" if run.state == "done" else f", {run.state}"
        what = f"{run.method}{variant} on {run.dataset.name}, seed {run.seed}{state}"
        table.add_row(Text(name, style="bold"), Text(run.run_id), Text(what))
    return table


def _numbers_table(comparison: Comparison, names: Sequence[str]) -> Table:
    others = range(1, len(names))
    intervals = any(metric and metric.interval for number in comparison.numbers for metric in number.metrics)
    table = _table("mIoU (%)", "number", *names, *(f"{names[run]} - {names[0]}" for run in others))
    if intervals:
        table.caption = Text("in brackets 95 % intervals over images; ≠ outside each other's, = not\n")
        table.caption_justify = "left"
    for number in comparison.numbers:
        table.add_row(
            number.column.label,
            *(_value(metric) for metric in number.metrics),
            *(_difference(number, run) for run in others),
        )
    return table


def _value(metric: Metric | None) -> Text:
    if metric is None:
        return Text("-", style="dim")
    text = Text(f"{100 * metric.value:.2f}")
    if metric.interval:
        low, high = (100 * end for end in metric.interval)
        text.append(f" [{low:.1f}, {high:.1f}]", style="dim")
    return text


def _difference(number: NumberComparison, run: int) -> Text:
    difference = number.difference(run)
    if difference is None:
        return Text("-", style="dim")
    sign = {True: " ≠", False: " =", None: ""}[number.outside(run)]
    return Text(f"{100 * difference:+.2f}{sign}", style=_colour(difference))


def _colour(difference: float) -> str:
    return "green" if difference > 0 else "red" if difference < 0 else ""


def _classes_table(number: NumberComparison, names: Sequence[str]) -> Table:
    """IoU per class with the difference to the first run for each other run, as a bar where there is one."""
    first, *others = [metric for metric in number.metrics if metric]
    classes = list(first.per_class)
    headings = [part for name in names[1:] for part in (name, f"{name} - {names[0]}")]
    table = _table(f"IoU (%) per class, {_label(number.column, first)}", "class", names[0], *headings)
    if len(others) == 1:
        table.add_column()
    found = [
        [_minus(other.per_class.get(name), first.per_class[name]) for other in others] for name in classes
    ]
    longest = max((abs(value) for row in found for value in row if value is not None), default=0.0)
    for name, row in zip(classes, found):
        cells: list[str | Text] = []
        for other, value in zip(others, row):
            difference = Text("-") if value is None else Text(f"{100 * value:+.1f}", style=_colour(value))
            cells += [_percent(other.per_class.get(name)), difference]
        bars = [_bar(row[0] or 0.0, longest)] if len(row) == 1 else []
        table.add_row(name, _percent(first.per_class[name]), *cells, *bars)
    return table


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _label(column: Column, metric: Metric) -> str:
    return f"{column.label} on {metric.protocol.split}" if column.split not in column.label else column.label


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _bar(difference: float, longest: float) -> Text:
    """A bar on one side of a middle line; the longest of all differences fills its side."""
    length = round(_BAR * abs(difference) / longest) if longest else 0
    left = "█" * length if difference < 0 else ""
    right = "█" * length if difference > 0 else ""
    text = Text(f"{left:>{_BAR}}", style="red")
    text.append("│", style="dim")
    text.append(right, style="green")
    return text


def _costs_table(runs: Sequence[RunRecord], names: Sequence[str]) -> Table:
    """Time of each stage, then totals and peaks; behind each value of a later run its ratio to the first."""
    headings = [part for name in names[1:] for part in (name, f"{name} / {names[0]}")]
    table = _table("time and memory", "", names[0], *headings)
    stages = list(dict.fromkeys(stage.name for run in runs for stage in run.stages))
    for stage in stages:
        seconds = [report.seconds if (report := _report(run, stage)) else None for run in runs]
        if any(value is not None for value in seconds):
            table.add_row(stage, *_with_ratios(seconds, [duration(value) for value in seconds]))
    table.add_section()
    costs = [costs_of([run]) for run in runs]
    for label, values, texts in _totals(costs):
        if any(value is not None for value in values):
            table.add_row(label, *_with_ratios(values, texts))
    return table


def _report(run: RunRecord, stage: str) -> Report | None:
    return next((found.report for found in run.stages if found.name == stage), None)


def _totals(costs: Sequence[Costs]) -> Iterator[tuple[str, list[float | None], list[str]]]:
    seconds = [cost.seconds for cost in costs]
    yield "all stages", [*seconds], [duration(value) for value in seconds]
    host = [cost.host_memory_peak_bytes for cost in costs]
    yield "host memory", [*host], [gibibytes(value) for value in host]
    gpu = [cost.gpu_memory_peak_bytes for cost in costs]
    yield "GPU memory", [*gpu], [gibibytes(value) for value in gpu]
    energy = [cost.gpu_energy_joules for cost in costs]
    yield "GPU energy", [*energy], [watt_hours(value) for value in energy]
    for label, field in (("train images/s", "train"), ("infer images/s", "infer")):
        rates = [getattr(cost, f"{field}_images_per_second") for cost in costs]
        yield label, rates, ["-" if value is None else f"{value:.1f}" for value in rates]


def _with_ratios(values: Sequence[float | None], texts: Sequence[str]) -> Iterator[str]:
    first = values[0]
    yield texts[0]
    for value, text in zip(values[1:], texts[1:]):
        yield text
        yield f"{value / first:.2f}" if value is not None and first else "-"


def _differences_table(title: str, found: Sequence[Difference], names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("what differs", overflow="fold")
    table.add_column(" | ".join(names), overflow="fold", ratio=1)
    for difference in found:
        table.add_row(Text(difference.name), Text(" | ".join(difference.values)))
    return table
