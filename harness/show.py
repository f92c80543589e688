"""Tables and progress of the CLI's verbs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from harness.components import import_modules
from harness.config import METHODS
from harness.conversion import CONVERTERS
from harness.errors import InputError, nearest
from harness.plan import select
from harness.prepare import Prepared
from harness.weights import Weights, cache_folder, convert_file


def plan_table(prepared: Prepared) -> Table:
    """The plan, and what of it is there already."""
    options = prepared.options
    again = select(prepared.plan, start=options.start, only=options.only, force=options.force)
    table = Table("stage", "type", "split", "images", "inputs", "key", "output")
    for stage in prepared.plan.stages:
        if stage.imported:
            output = "imported"
        elif options.only is not None and stage.name != options.only:
            output = "not asked for"
        elif stage.name in again:
            output = "to do (again)"
        elif stage.artifact.complete:
            output = "there"
        else:
            output = "to resume" if (stage.artifact.folder / "stage.json").is_file() else "to do"
        table.add_row(
            stage.name,
            stage.config.type,
            stage.config.split,
            str(len(prepared.ids[stage.config.split])),
            ", ".join(stage.inputs.values()) or "-",
            stage.key[:8],
            output,
        )
    return table


def weights_table() -> Table:
    """What `methods/weights.yaml` lists and whether it is in the cache."""
    table = Table("name", "size", "used by", "licence", "there", title="details: methods/weights.yaml")
    table.columns[0].no_wrap = True
    for name, entry in Weights.load(METHODS / "weights.yaml").entries.items():
        size = entry.bytes or entry.about_bytes
        there = (cache_folder() / entry.filename).is_file()
        table.add_row(
            name,
            f"{size / 1e6:.0f} MB" if size else "-",
            ", ".join(entry.used_by),
            entry.licence,
            "yes" if there else "no" if entry.url else "by hand",
        )
    return table


def download_progress(console: Console) -> Progress:
    """A bar for downloads: bytes, speed, time to go."""
    columns = (
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)


def fetch_with_progress(name: str, console: Console) -> Path:
    """Download weights into the cache, with a bar in a terminal.

    Raises:
        InputError: unknown name, offline, wrong checksum.
    """
    with download_progress(console) as bar:
        task = bar.add_task(name, total=None)
        found = Weights.load(METHODS / "weights.yaml").fetch(
            name, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    return found.path


def convert_with_report(layout: str, source: Path, target: Path, console: Console) -> None:
    """Convert an authors' checkpoint and say what became of every tensor.

    Raises:
        InputError: unknown layout, unreadable file, or a tensor that does not map.
    """
    import_modules(["methods.converters"])
    if layout not in CONVERTERS:
        raise InputError(
            f"there is no layout '{layout}'{nearest(layout, CONVERTERS)}; "
            f"the layouts are {', '.join(CONVERTERS)}"
        )
    conversion = convert_file(CONVERTERS[layout], source, target)
    table = Table("tensors", "count", "which")
    table.add_row("converted", str(len(conversion.state)), f"written to {target}")
    for reason in dict.fromkeys(conversion.dropped.values()):
        names = [name for name, why in conversion.dropped.items() if why == reason]
        table.add_row(f"dropped: {reason}", str(len(names)), ", ".join(names[:3]))
    console.print(table)
