"""`harness data`: prepare datasets from their official archives, verify them, look into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError, nearest
from harness.verbs.terminal import console, fail, require_folder_of

DatasetName = Annotated[str, typer.Argument(help="voc, coco or shapes.")]
Root = Annotated[
    Path | None, typer.Option(help="Folder of the dataset; shapes is generated into the cache without one.")
]

app = typer.Typer(no_args_is_help=True, help="Datasets: prepare, verify, look into them.")


@app.command("prepare")
def prepare(
    dataset: DatasetName,
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
    if dataset == "shapes" and archive:
        raise InputError("shapes is generated, not unpacked: leave out --archive")
    if dataset != "shapes" and (images is not None or seed is not None):
        raise InputError(f"--images and --seed are for shapes, not for {dataset}: leave them out")
    terminal = console()
    try:
        with PreparationView(terminal) as view:
            if dataset == "shapes":
                prepared = prepare_shapes(root, view, images=images, seed=seed)
            else:
                prepared = prepare_dataset(dataset, root, archive or [], view)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on where it stopped")
        raise typer.Exit(130) from None
    terminal.print(prepared_table(prepared, dataset))
    for line in next_steps(prepared, dataset):
        terminal.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("verify")
def verify(
    dataset: DatasetName,
    root: Root = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to verify; repeatable. By default all that are there.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of <split>.txt to compare the lists with, id by id.")
    ] = None,
) -> None:
    """Check lists, images, labels and masks, and tell all that is wrong; exit status 1 if anything is."""
    from harness.data import open_dataset
    from harness.inspection.checks_view import checks_table, outcome, print_findings, reading
    from harness.inspection.list_checks import check_overlaps, find_references
    from harness.inspection.verify import verify_split
    from harness.watch import Watch

    terminal = console()
    found = open_dataset(dataset, root)
    splits = list(dict.fromkeys(split or found.splits))
    for name in splits:
        found.resolve_split(name)
    references = find_references(lists, splits) if lists else {}
    checks = []
    with Watch(terminal, splits) as watch:
        for name in splits:
            watch.begin(name, "reading")
            of_split = verify_split(
                found, name, reference=references.get(name), required=bool(split), progress=reading(watch)
            )
            watch.end(outcome(of_split))
            checks += of_split
    checks += check_overlaps(found, splits)
    terminal.print(checks_table(checks, f"{dataset} in {found.root}"))
    print_findings(terminal, checks)
    if any(check.problems for check in checks):
        raise typer.Exit(1)


@app.command("stats")
def stats(
    dataset: DatasetName,
    root: Root = None,
    split: Annotated[str, typer.Option(help="Split to count.")] = "train",
    out: Annotated[Path | None, typer.Option(help="Picture to draw as well: a .png, .pdf or .svg.")] = None,
) -> None:
    """Count images and pixels per class, classes that occur together, and sizes of images."""
    from harness.data import open_dataset
    from harness.inspection.checks_view import reading
    from harness.inspection.figure_file import require_figure_name
    from harness.inspection.statistics import count_split
    from harness.inspection.statistics_table import statistics_table, summary
    from harness.watch import Watch

    if out:
        require_figure_name(out)
        require_folder_of(out)
    terminal = console()
    found = open_dataset(dataset, root)
    found.ids(split)
    with Watch(terminal, [split]) as watch:
        watch.begin(split, "reading")
        statistics = count_split(found, split, reading(watch))
        watch.end(f"{len(statistics.labels):,} images")
    terminal.print(statistics_table(statistics))
    terminal.print(summary(statistics), markup=False, highlight=False, soft_wrap=True)
    if out:
        from harness.inspection.statistics_figure import draw_statistics

        draw_statistics(statistics, out)
        terminal.print(f"picture: {out}", markup=False, highlight=False, soft_wrap=True)


@app.command("show")
def show(
    dataset: DatasetName,
    image_id: Annotated[str, typer.Argument(metavar="ID", help="Image, as the lists name it.")],
    root: Root = None,
    split: Annotated[
        str | None, typer.Option(help="Split whose mask is shown; by default the first that has the image.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write: a .png, .pdf or .svg; default ID.png.")
    ] = None,
) -> None:
    """Draw an image, its mask and its labels side by side."""
    from harness.data import open_dataset
    from harness.inspection.figure_file import require_figure_name
    from harness.inspection.image_figure import draw_image, find_split

    out = out or Path(f"{image_id}.png")
    require_figure_name(out)
    require_folder_of(out)
    found = open_dataset(dataset, root)
    draw_image(found, image_id, split or find_split(found, image_id), out)
    console().print(f"picture: {out}", markup=False, highlight=False, soft_wrap=True)
