"""What a user sees of an evaluation: tables in the terminal, and the same numbers as JSON or CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.evaluation import Curve
from harness.files import atomic_file, write_json
from harness.report import Quality

_BARS = "▁▂▃▄▅▆▇█"
_CSV_COLUMNS = (
    "dataset", "split", "images", "ground_truth", "chosen", "threshold", "class", "iou", "precision",
    "recall", "boundary_iou", "iou_low", "iou_high",
)  # fmt: skip


def print_evaluation(console: Console, qualities: Sequence[Quality], curve: Curve | None) -> None:
    """Print the numbers of every class at the first threshold, those over all classes, and the curve."""
    console.print(class_table(qualities[0]))
    console.print(summary_table(qualities))
    if curve:
        console.print(curve_line(curve), highlight=False, soft_wrap=True)


def percent(value: float | None) -> str:
    """`0.4567` as `45.67`, None as `-`."""
    return "-" if value is None else f"{100 * value:.2f}"


def _heading(quality: Quality) -> str:
    chosen = quality.protocol.threshold
    return "value" if chosen == "none" else f"{chosen}: {quality.threshold:g}"


def summary_table(qualities: Sequence[Quality]) -> Table:
    """The numbers over all classes, a column per threshold, in percent."""
    protocol = qualities[0].protocol
    table = Table(
        "%",
        title=f"{protocol.dataset} {protocol.split}: {protocol.images:,} images, {protocol.ground_truth}",
        title_justify="left",
    )
    for quality in qualities:
        table.add_column(_heading(quality), justify="right")
    rows = [_summary(quality) for quality in qualities]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    return table


def _summary(quality: Quality) -> dict[str, str]:
    rates = quality.false_rates
    low, high = quality.interval or (None, None)
    return {
        "mIoU": percent(quality.value),
        "95 % interval": f"{percent(low)} to {percent(high)}",
        "boundary IoU": "not asked for" if quality.boundary_iou is None else percent(quality.boundary_iou),
        "precision": percent(_mean(quality.precision)),
        "recall": percent(_mean(quality.recall)),
        "pixel accuracy": percent(quality.pixel_accuracy),
        "foreground FP, FN": f"{percent(rates['foreground_fp'])}, {percent(rates['foreground_fn'])}",
        "background FP, FN": f"{percent(rates['background_fp'])}, {percent(rates['background_fn'])}",
    }


def _mean(values: Mapping[str, float | None]) -> float | None:
    defined = [value for value in values.values() if value is not None]
    return sum(defined) / len(defined) if defined else None


def class_table(quality: Quality) -> Table:
    """The numbers of every class, in percent."""
    table = Table("class", *("IoU", "precision", "recall", "boundary IoU"), title=_heading(quality))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, iou in quality.per_class.items():
        values = (quality.precision[name], quality.recall[name], quality.boundary_per_class.get(name))
        table.add_row(name, percent(iou), *map(percent, values))
    return table


def curve_line(curve: Curve) -> str:
    """The mIoU over a sweep as one line of bars, from its lowest to its highest value."""
    values = [value or 0.0 for value in curve["mIoU"]]
    low, spread = min(values), (max(values) - min(values)) or 1.0
    bars = "".join(_BARS[int((value - low) / spread * (len(_BARS) - 1))] for value in values)
    first, last = curve["threshold"][0], curve["threshold"][-1]
    return f"mIoU at {first:g} to {last:g}: {bars} {percent(low)} to {percent(low + spread)}"


def write_evaluation_json(path: Path, qualities: Sequence[Quality], curve: Curve | None) -> None:
    """Write the numbers with their protocol, as `metrics.json` of an artifact has them."""
    write_json(path, {"metrics": [quality.model_dump(mode="json") for quality in qualities], "curve": curve})


def write_evaluation_csv(path: Path, qualities: Sequence[Quality]) -> None:
    """Write a line per threshold and class, and one for their mean; fractions of 1, nothing if undefined."""
    with atomic_file(path, "w") as file:
        writer = csv.DictWriter(file, _CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for quality in qualities:
            writer.writerows(_csv_rows(quality))


def _csv_rows(quality: Quality) -> list[dict[str, object]]:
    protocol = quality.protocol
    same: dict[str, object] = {
        "dataset": protocol.dataset,
        "split": protocol.split,
        "images": protocol.images,
        "ground_truth": protocol.ground_truth,
        "chosen": protocol.threshold,
        "threshold": quality.threshold,
    }
    low, high = quality.interval or (None, None)
    mean: dict[str, object] = {
        "class": "mean",
        "iou": quality.value,
        "precision": _mean(quality.precision),
        "recall": _mean(quality.recall),
        "boundary_iou": quality.boundary_iou,
        "iou_low": low,
        "iou_high": high,
    }
    classes: list[dict[str, object]] = [
        {
            "class": name,
            "iou": iou,
            "precision": quality.precision[name],
            "recall": quality.recall[name],
            "boundary_iou": quality.boundary_per_class.get(name),
        }
        for name, iou in quality.per_class.items()
    ]
    return [same | row for row in (mean, *classes)]
