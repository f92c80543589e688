"""`harness evaluate`: predictions against ground truth, whoever made them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from harness.errors import InputError
from harness.verbs.terminal import console, require_folder_of, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from harness.evaluation import Evaluation, Tally
    from harness.prediction_source import GroundTruth
    from harness.report import Protocol
    from harness.schema import Sweep

One = TypeVar("One")
Other = TypeVar("Other")


def evaluate(
    scores: Annotated[
        Path | None, typer.Option(help="Folder of CAMs or score maps; also an artifact's.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of label maps; also an artifact's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset to compare with: voc, coco or shapes.")] = None,
    split: Annotated[str, typer.Option(help="Its split.")] = "train",
    data_root: Annotated[Path | None, typer.Option(help="Its folder (VOC: VOCdevkit).")] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(help="Instead of a dataset: a folder of label maps <image id>.png.")
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, max=253, help="With --ground-truth: number of classes, without background."),
    ] = None,
    list_: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="Image ids to use, one per line, instead of all."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="How files of predictions look; recognised if not given.")
    ] = None,
    sweep: Annotated[
        str, typer.Option(metavar="START:STOP:STEP", help="CAMs: background thresholds, both ends included.")
    ] = "0.01:0.6:0.01",
    threshold: Annotated[
        float | None, typer.Option(help="CAMs: a threshold that was chosen beforehand, reported besides.")
    ] = None,
    boundary: Annotated[
        bool | None,
        typer.Option(help="Boundary IoU too; by default for label maps, with CAMs it takes as long again."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the numbers as JSON.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the numbers as CSV.")] = None,
) -> None:
    """Evaluate CAMs, score maps or label maps, of a stage or of any other code."""
    from harness.evaluation import conclude
    from harness.prepare import cpu_workers
    from harness.show_evaluation import print_evaluation, write_evaluation_csv, write_evaluation_json

    for output in filter(None, (json, csv)):
        require_folder_of(output)
    predictions = _one_of(("--scores", scores), ("--masks", masks))
    reference = _one_of(("--dataset", dataset), ("--ground-truth", ground_truth))
    if isinstance(reference, str):
        compared = _open_dataset(reference, split, data_root, list_)
    else:
        compared = _open_folder(reference, classes, list_)
    evaluation = _open_predictions(predictions, layout, compared, sweep, threshold, boundary)
    if masks and evaluation.source.kind == "cams":
        raise InputError(f"{masks} holds class maps, not label maps: give it with --scores")
    terminal = console()
    tally = _count(evaluation, workers or cpu_workers(), terminal)
    qualities, curve = conclude(evaluation, tally, compared.protocol)
    print_evaluation(terminal, qualities, curve)
    if json:
        write_evaluation_json(json, qualities, curve)
    if csv:
        write_evaluation_csv(csv, qualities)


class _Compared(NamedTuple):
    truth: GroundTruth
    ids: Sequence[str]
    protocol: Protocol


def _one_of(one: tuple[str, One | None], other: tuple[str, Other | None]) -> One | Other:
    if one[1] is not None and other[1] is None:
        return one[1]
    if other[1] is not None and one[1] is None:
        return other[1]
    raise InputError(f"give one of {one[0]} and {other[0]}")


def _open_dataset(name: str, split: str, root: Path | None, list_: Path | None) -> _Compared:
    from harness.data import open_dataset
    from harness.data.voc import read_id_list
    from harness.prediction_source import DatasetTruth
    from harness.report import Protocol

    dataset = open_dataset(name, root)
    ids = dataset.ids(split) if list_ is None else read_id_list(list_, "--list")
    for notice in dataset.notices:
        warn(notice)
    protocol = Protocol(
        dataset=name,
        split=split if list_ is None else f"{split} ({list_.name})",
        images=len(ids),
        ground_truth=dataset.ground_truth(split),
        details={},
    )
    return _Compared(DatasetTruth(dataset, split), ids, protocol)


def _open_folder(folder: Path, classes: int | None, list_: Path | None) -> _Compared:
    from harness.data.voc import read_id_list
    from harness.prediction_source import FolderTruth
    from harness.report import Protocol

    if classes is None:
        raise InputError("a folder of ground truth does not say how many classes there are: add --classes")
    ids = read_id_list(list_, "--list") if list_ else sorted(path.stem for path in folder.glob("*.png"))
    if not ids:
        raise InputError(
            f"there are no label maps (<image id>.png) in {folder}: name the folder that has them"
        )
    split = list_.name if list_ else "all images"
    protocol = Protocol(
        dataset=folder.name, split=split, images=len(ids), ground_truth=str(folder), details={}
    )
    return _Compared(FolderTruth(folder, classes), ids, protocol)


def _open_predictions(
    folder: Path,
    layout: str | None,
    compared: _Compared,
    sweep: str,
    threshold: float | None,
    boundary: bool | None,
) -> Evaluation:
    from harness.evaluation import Evaluation, thresholds
    from harness.prediction_source import open_source

    source = open_source(folder, layout, len(compared.truth.classes) - 1)
    compared.protocol.details["predictions"] = source.name
    if source.kind == "labels":
        if threshold is not None:
            raise InputError(f"the predictions in {folder} have a background: leave out --threshold")
        return Evaluation(compared.ids, source, compared.truth, boundary=boundary is not False)
    grid = _parse_sweep(sweep)
    compared.protocol.details["sweep"] = grid.model_dump()
    return Evaluation(
        compared.ids, source, compared.truth, thresholds(grid), threshold, boundary=boundary is True
    )


def _parse_sweep(text: str) -> Sweep:
    from pydantic import ValidationError

    from harness.schema import Sweep

    try:
        start, stop, step = (float(part) for part in text.split(":"))
        return Sweep(start=start, stop=stop, step=step, stop_at_drop=False)
    except (ValueError, ValidationError):
        raise InputError(
            f"--sweep {text} is no START:STOP:STEP with a positive step, such as 0.01:0.6:0.01: correct it"
        ) from None


def _count(evaluation: Evaluation, workers: int, terminal: Console) -> Tally:
    """Count with a bar, and say how long it took."""
    from harness.evaluation import count
    from harness.progress import Progress
    from harness.watch import Watch, duration

    began, images, done = time.time(), len(evaluation.ids), 0
    with Watch(terminal, ["evaluate"]) as watch:

        def progress(more: int) -> None:
            nonlocal done
            done += more
            watch.show(Progress(done, images, "images", 0, began))

        watch.begin("evaluate", f"{evaluation.source.name}: {images:,} images")
        tally = count(evaluation, workers, progress)
        seconds = time.time() - began
        watch.end(f"{images:,} images in {duration(seconds)}, {images / seconds:.0f} images/s")
    return tally
