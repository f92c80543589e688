"""The `harness` command: one function per verb. Heavy imports happen inside the verbs that need them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, infer and evaluate weakly supervised semantic segmentation methods under one protocol.",
)
image_app = typer.Typer(no_args_is_help=True, help="Container images of the methods.")
weights_app = typer.Typer(no_args_is_help=True, help="Initial weights: list, download, convert.")
app.add_typer(image_app, name="image")
app.add_typer(weights_app, name="weights")

WorkDir = Annotated[
    Path, typer.Option("--work-dir", envvar="HARNESS_WORK", help="Folder for artifacts, runs and records.")
]


@app.command()
def run(
    method: Annotated[str, typer.Option(help="Method, a folder of methods/.")],
    dataset: Annotated[str, typer.Option(help="Dataset: voc, coco or shapes.")] = "shapes",
    variant: Annotated[
        str | None, typer.Option(help="Variant of the config: <dataset>_<variant>.py.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the dataset (VOC: VOCdevkit).")] = None,
    work_dir: WorkDir = Path("work"),
    executor: Annotated[
        str, typer.Option(help="docker, local, or auto: Docker when an engine answers.")
    ] = "auto",
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs per stage; one if there is one, unless said otherwise.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    weights: Annotated[
        list[str] | None, typer.Option(help="'none' for random initial weights, FILE, NAME=FILE; repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override, as in stages.cam.train_cfg.max_epochs=1."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many images of each split.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few iterations and images per stage, all else unabridged.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Time limit of a stage in seconds.")] = 7 * 86400,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Do this stage and all after it again.")
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="STAGE", help="Do only this stage.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Do stages again although their output is there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and what of it is there.")
    ] = False,
) -> None:
    """Run a method on a dataset: train, infer, refine, evaluate; what is there already is reused."""
    from harness.config import parse_override
    from harness.prepare import RunOptions, prepare
    from harness.run import Run, StageFailed

    options = RunOptions(
        method=method,
        dataset=dataset,
        variant=variant,
        data_root=data_root,
        work=work_dir,
        executor=executor,
        gpus=gpus,
        seed=seed,
        limit=limit,
        smoke=smoke,
        weights=weights or [],
        overrides=[parse_override(text) for text in set_ or []],
        timeout=timeout,
        start=from_,
        only=only,
        force=force,
    )
    console = _console()
    prepared = prepare(
        options, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
    )
    if dry_run:
        from harness.show import plan_table

        console.print(plan_table(prepared))
        return
    # A terminated harness stops its stage and closes its record, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        record = Run(prepared, console).execute()
    except StageFailed as error:
        _fail(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        again = "without --from and --force " if from_ or force else ""
        _fail(f"interrupted; the same command {again}resumes where it stopped")
        raise typer.Exit(130) from None
    _show_leaderboard(work_dir, record.dataset.name)


def _show_leaderboard(work_dir: Path, dataset: str) -> None:
    from harness.record import read_records
    from leaderboard.table import leaderboard_rows, render_terminal

    console = _console()
    records = [record for record in read_records(work_dir, _warn) if record.dataset.name == dataset]
    if rows := leaderboard_rows(records):
        console.print(render_terminal(rows, f"mIoU (%) on {dataset}"))
    console.print(f"records: {work_dir / 'runs'}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def leaderboard(
    work_dir: WorkDir = Path("work"),
    output: Annotated[Path | None, typer.Option(help="File to write instead of standard output.")] = None,
) -> None:
    """Print the leaderboard of all finished runs as Markdown."""
    from harness.files import atomic_file
    from harness.record import read_records
    from leaderboard.table import leaderboard_rows, render_markdown

    text = render_markdown(leaderboard_rows(read_records(work_dir, _warn)))
    if output is None:
        sys.stdout.write(text)
        return
    _require_folder_of(output)
    with atomic_file(output, "w") as file:
        file.write(text)


@app.command()
def methods() -> None:
    """List the methods and their configs."""
    from rich.table import Table

    from harness.config import list_configs, list_methods

    table = Table("method", "configs")
    for name in list_methods():
        if configs := list_configs(name):
            table.add_row(name, ", ".join(configs))
    _console().print(table)


@image_app.command("build")
def image_build(
    method: Annotated[str, typer.Argument(help="Method whose image to build.")],
    base_image: Annotated[
        str, typer.Option(envvar="HARNESS_BASE_IMAGE", help="Debian image to start from.")
    ] = "debian:bookworm-slim",
    ca_bundle: Annotated[
        Path | None,
        typer.Option(envvar="HARNESS_CA_BUNDLE", help="Extra CA certificates for the build's network."),
    ] = None,
) -> None:
    """Build a method's image, and the base image where it is missing or stale."""
    from harness import images

    console = _console()
    info = images.build(
        method,
        base_image=base_image,
        ca_bundle=ca_bundle,
        progress=lambda text: console.print(text, markup=False),
    )
    console.print(f"{info.tag} {info.size_bytes / (1 << 30):.2f} GiB", markup=False)


@image_app.command("list")
def image_list() -> None:
    """List the images that are there."""
    from rich.table import Table

    from harness import images

    table = Table("image", "state", "size", "created (UTC)")
    table.columns[0].no_wrap = True
    for info in images.list_images():
        table.add_row(
            info.tag,
            info.state,
            f"{info.size_bytes / (1 << 30):.2f} GiB",
            info.created[:16].replace("T", " "),
        )
    _console().print(table)


@image_app.command("verify")
def image_verify(method: Annotated[str, typer.Argument(help="Method whose image to verify.")]) -> None:
    """Say whether a method's image holds the present source and lock file; exit status 1 if not."""
    from harness import images

    state = images.verify(method)
    _console().print(f"{images.method_tag(method)}: {state.value}", markup=False)
    if state is not images.ImageState.CURRENT:
        raise typer.Exit(1)


@weights_app.command("list")
def weights_list() -> None:
    """List the weights that methods start from, and which are there."""
    from harness.show import weights_table

    _console().print(weights_table())


@weights_app.command("fetch")
def weights_fetch(name: Annotated[str, typer.Argument(help="Name in methods/weights.yaml.")]) -> None:
    """Download weights into the cache; a broken download is resumed."""
    from harness.show import fetch_with_progress

    path = fetch_with_progress(name, _console())
    _console().print(str(path), markup=False)


@weights_app.command("convert")
def weights_convert(
    layout: Annotated[str, typer.Argument(help="Layout of the authors' file, as in methods/weights.yaml.")],
    source: Annotated[Path, typer.Argument(help="The authors' checkpoint.")],
    target: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Turn an authors' checkpoint into ours, strictly; says what did not map."""
    from harness.show import convert_with_report

    _require_folder_of(target)
    convert_with_report(layout, source, target, _console())


@app.command()
def schema(output: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Write the JSON Schema of record.json."""
    from harness.record import export_schema

    _require_folder_of(output)
    export_schema(output)


def _require_folder_of(output: Path) -> None:
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent} to write {output.name} to: make it first")


def _console() -> Any:
    from rich.console import Console

    return Console()


def _warn(message: str) -> None:
    sys.stderr.write(f"warning: {message}\n")


def _fail(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")


def main() -> None:
    """Entry point: wrong input becomes one sentence and exit status 2."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
        sys.exit(2)
    except OSError as error:
        sys.exit(_report_os_error(error))


def _report_os_error(error: OSError) -> int:
    """Full disks and unwritable folders are the user's to mend; anything else is a bug and raised."""
    import errno

    where = error.filename or "the work folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        _fail(f"the disk is full ({where}): free some space and run the same command again")
        return 2
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        _fail(f"no permission to write {where}: choose another folder or change its permissions")
        return 2
    raise error


if __name__ == "__main__":
    main()
