"""`harness data`: datasets from their official archives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError, nearest
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
            min=8, help="shapes: pictures to train on; train has a quarter and val an eighth of it."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="shapes: seed of the pictures; default 0.")] = None,
) -> None:
    """Download, check, unpack and derive a dataset; what is there already is kept."""
    from harness.data.prepare import RECIPES, prepare_dataset
    from harness.data.shapes_prepare import prepare_shapes
    from harness.show_data import PreparationView, next_steps, prepared_table

    names = [*RECIPES, "shapes"]
    if dataset not in names:
        raise InputError(
            f"'{dataset}' cannot be prepared{nearest(dataset, names)}; the datasets are {', '.join(names)}"
        )
    terminal = console()
    with PreparationView(terminal) as view:
        if dataset == "shapes":
            if archive:
                raise InputError("shapes is generated, not unpacked: leave out --archive")
            prepared = prepare_shapes(root, view, images=images, seed=seed)
        elif images is not None or seed is not None:
            raise InputError(f"--images and --seed are for shapes, not for {dataset}: leave them out")
        else:
            prepared = prepare_dataset(dataset, root, archive or [], view)
    terminal.print(prepared_table(prepared, dataset))
    for line in next_steps(prepared, dataset):
        terminal.print(line, markup=False, highlight=False, soft_wrap=True)
