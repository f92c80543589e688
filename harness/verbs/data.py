"""`harness data`: datasets from their official archives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs.terminal import console

app = typer.Typer(no_args_is_help=True, help="Datasets: prepare them from their official archives.")


@app.command("prepare")
def prepare(
    dataset: Annotated[str, typer.Argument(help="voc, coco or shapes.")],
    root: Annotated[Path, typer.Option(help="Folder to make the dataset in (VOC: what holds VOCdevkit).")],
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Official archive that you have already; repeatable. The others are downloaded."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=1, help="shapes: pictures to train on; a quarter and an eighth as many are train and val."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="shapes: seed of the pictures; default 0.")] = None,
) -> None:
    """Download, check, unpack and derive a dataset; what is there already is kept."""
    from harness.data.prepare import prepare_dataset

    terminal = console()
    terminal.print(prepare_dataset(dataset, root, archive or [], terminal, images=images, seed=seed))
