"""`harness results`: predictions of other codes, and ours for other codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InputError, nearest
from harness.verbs.terminal import WorkDir, console, warn

if TYPE_CHECKING:
    from harness.artifact import Artifact
    from leaderboard.runs import FoundRun

app = typer.Typer(no_args_is_help=True, help="Import predictions of other codes, export ours for them.")

_Dataset = Annotated[str, typer.Option(help="Dataset whose classes they have: voc, coco or shapes.")]


@app.command("layouts")
def layouts() -> None:
    """List the layouts: what files of other codes hold."""
    from rich.table import Table

    from harness.layouts import LAYOUTS

    table = Table("layout", "files", "a file holds")
    for name, layout in LAYOUTS.items():
        table.add_row(name, " or ".join(layout.suffixes), layout.holds)
    console().print(table)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Folder with a file per image.")],
    out: Annotated[Path, typer.Option(help="Folder to make; give it to `harness run --use STAGE=DIR`.")],
    layout: Annotated[
        str | None, typer.Option(help="See `harness results layouts`; default: recognised.")
    ] = None,
    dataset: _Dataset = "voc",
) -> None:
    """Make an artifact, as stages read it, of another code's CAMs, scores or masks."""
    from harness.import_results import import_predictions
    from harness.layouts import open_predictions
    from harness.prepare import cpu_workers
    from harness.show_data import PreparationView

    classes = _num_classes(dataset)
    predictions = open_predictions(folder, layout, num_classes=classes)
    terminal = console()
    with PreparationView(terminal) as view:
        view.plan([predictions.layout])
        view.begin(predictions.layout, "importing")
        summary = import_predictions(
            predictions,
            out,
            classes=classes,
            workers=cpu_workers(),
            progress=lambda done, total: view.progress(done, total, "images"),
        )
        view.end(f"{summary.images} images: {out}")
    if summary.outside:
        warn(f"{summary.outside} images have scores below 0 or above 1: thresholds mean something else there")


@app.command("export")
def export(
    run: Annotated[
        str, typer.Argument(help="A run: its id, the beginning of it, its folder or record.json.")
    ],
    stage: Annotated[str, typer.Argument(help="Stage of the run whose output to export.")],
    layout: Annotated[str, typer.Option(help="See `harness results layouts`.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    background: Annotated[
        float | None, typer.Option(help="Score of the background, for CAMs in a layout that has one.")
    ] = None,
    work_dir: WorkDir = Path("work"),
) -> None:
    """Write a stage's scores or masks in the layout of another code."""
    from harness.export_results import export_results
    from harness.prepare import cpu_workers
    from harness.show_data import PreparationView
    from leaderboard.runs import find_run

    found = find_run(run, work_dir)
    artifact = _artifact(found, stage)
    with PreparationView(console()) as view:
        view.plan([stage])
        view.begin(stage, "exporting")
        images = export_results(
            artifact,
            layout,
            out,
            classes=_num_classes(found.record.dataset.name),
            background=background,
            workers=cpu_workers(),
            progress=lambda done, total: view.progress(done, total, "images"),
        )
        view.end(f"{images} images: {out}")


def _num_classes(dataset: str) -> int:
    from harness.data import DATASETS

    if dataset not in DATASETS:
        raise InputError(
            f"there is no dataset '{dataset}'{nearest(dataset, DATASETS)}; the datasets are "
            f"{', '.join(DATASETS)}"
        )
    return len(DATASETS[dataset].classes) - 1


def _artifact(run: FoundRun, stage: str) -> Artifact:
    """The whole artifact of a run's stage."""
    from harness.artifact import Artifact

    names = [entry.name for entry in run.record.stages]
    if stage not in names:
        raise InputError(
            f"run {run.record.run_id} has no stage '{stage}'{nearest(stage, names)}; its stages are "
            f"{', '.join(names)}"
        )
    if run.work is None:
        raise InputError(
            f"{run.path} lies outside of its work folder, where the artifacts are: name that one"
        )
    artifact = Artifact(run.work / next(entry.artifact for entry in run.record.stages if entry.name == stage))
    if not artifact.complete:
        raise InputError(f"the output of stage '{stage}' is not there ({artifact.folder}): run it first")
    if problem := artifact.problem():
        raise InputError(f"the output of stage '{stage}' is not whole: {problem}: run it again")
    return artifact
