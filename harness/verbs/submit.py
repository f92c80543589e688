"""`harness submit`: packages for the evaluation server of PASCAL VOC, made and validated."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.errors import InputError
from harness.verbs.terminal import WorkDir, console, fail, require_folder_of

if TYPE_CHECKING:
    from rich.table import Table

    from harness.record import RunRecord
    from harness.submission_check import Problem
    from harness.submission_plan import SubmitOptions

_NAMED = 5  # files of one fault that the table names


def submit(
    run: Annotated[
        str | None, typer.Argument(help="A finished run: id, its beginning, folder or record.json.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.tar", help="Package to write.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of VOC 2012 with the images of test (VOCdevkit).")
    ] = None,
    number: Annotated[
        Literal["seg", "seg_crf"] | None,
        typer.Option(help="Pack the predictions of this number; seg_crf where there is one."),
    ] = None,
    validate: Annotated[
        Path | None,
        typer.Option(metavar="PACKAGE", help="Validate any package instead: a tar archive or a folder."),
    ] = None,
    work_dir: WorkDir = Path("work"),
    executor: Annotated[
        str, typer.Option(help="docker, local, or auto: Docker when an engine answers.")
    ] = "auto",
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs per stage; one if there is one, unless said otherwise.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Time limit of a stage in seconds.")] = 7 * 86400,
    trial: Annotated[
        bool, typer.Option("--trial", help="Accept shortened runs and other lists than the official one.")
    ] = False,
) -> None:
    """Predict VOC's test split with a run's networks and pack it for the server, or validate a package."""
    if validate is not None:
        if run is not None or out is not None:
            raise InputError("--validate takes a package that is there: leave the run and --out away")
        if not _validate(validate, data_root, trial):
            raise typer.Exit(1)
        return
    if run is None or out is None or data_root is None:
        raise InputError("name a run, --data-root and --out, or a package with --validate")
    if out.suffix != ".tar":
        raise InputError(f"--out {out}: a package is a tar archive: choose a name that ends in .tar")
    require_folder_of(out)
    from harness.submission_plan import SubmitOptions
    from leaderboard.runs import find_run

    found = find_run(run, work_dir)
    if found.work is None:
        raise InputError(
            f"{found.path} lies outside of a work folder, so its checkpoints are not there: name the run in "
            "the work folder that it was made in"
        )
    options = SubmitOptions(found.work, data_root, number, executor, gpus, timeout, trial)
    try:
        _submit(found.record, options, out)
    except KeyboardInterrupt:
        fail("interrupted; the same command resumes where it stopped")
        raise typer.Exit(130) from None


def _submit(record: RunRecord, options: SubmitOptions, out: Path) -> None:
    """Predict, pack, and check what was packed."""
    from harness.files import file_sha256
    from harness.prediction_source import ArtifactSource
    from harness.prepare import cpu_workers, ticker
    from harness.run import Run, StageFailed
    from harness.submission import SPLIT, encode_masks, write_package
    from harness.submission_plan import prepare_submission

    def say(text: str) -> None:
        terminal.print(text, markup=False, highlight=False, soft_wrap=True)

    terminal = console()
    prepared, chain = prepare_submission(record, options, say)
    # A terminated harness stops its stage and closes its record, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = Run(prepared, terminal).execute()
    except StageFailed as error:
        fail(str(error))
        raise typer.Exit(1) from error
    source = ArtifactSource(prepared.plan[chain.last].artifact)
    ids = prepared.ids[SPLIT]
    masks = encode_masks(source, prepared.dataset, ids, cpu_workers(), ticker(say, "packing"))
    write_package(out, masks)
    say(f"{out}: {len(masks)} masks of {chain.number}, predicted by run {made.run_id} with the networks of")
    say(f"run {record.run_id}; SHA-256 {file_sha256(out)}")


def _validate(package: Path, data_root: Path | None, trial: bool) -> bool:
    """Print what is wrong with a package; returns whether nothing is."""
    from harness.data import open_dataset
    from harness.prepare import ticker
    from harness.submission import IMAGES, SPLIT, is_official
    from harness.submission_check import check_package

    terminal = console()
    dataset = open_dataset("voc", data_root) if data_root else None
    ids = dataset.ids(SPLIT) if dataset else None
    if ids is not None and not is_official(ids) and not trial:
        raise InputError(
            f"the list of '{SPLIT}' in {data_root} is not the official one of {IMAGES} images: get VOC's "
            "own, or leave --data-root away"
        )
    size_of = dataset.image_size if dataset else None
    tick = ticker(lambda text: terminal.print(text, markup=False, highlight=False), "validating")
    problems = check_package(package, ids, size_of, tick)
    if problems:
        terminal.print(_problem_table(problems))
    else:
        sizes = "sizes are those of the images" if dataset else "sizes not compared (--data-root)"
        terminal.print(f"{package} is valid: {sizes}", markup=False, highlight=False, soft_wrap=True)
    return not problems


def _problem_table(problems: Sequence[Problem]) -> Table:
    """One row per fault, with the number of files that have it and the first of them."""
    from rich.table import Table
    from rich.text import Text

    table = Table("problem", "count", "where")
    for kind in dict.fromkeys(problem.kind for problem in problems):
        places = [problem.place for problem in problems if problem.kind == kind]
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        table.add_row(Text(kind), str(len(places)), Text(", ".join(places[:_NAMED]) + more))
    return table
