"""`harness run`: train, infer, refine, evaluate."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from harness.verbs.leaderboard import show_leaderboard
from harness.verbs.terminal import WorkDir, console, fail


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
    aux: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Folder of auxiliary maps, as in saliency=DIR; repeatable."),
    ] = None,
    use: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE=PATH", help="Imported results in the place of a stage's; repeatable."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many images of each split.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few iterations and images per stage, all else unabridged.")
    ] = False,
    log_to: Annotated[
        list[str] | None,
        typer.Option("--log-to", metavar="TOOL", help="Log trainings to mlflow or wandb too; repeatable."),
    ] = None,
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
        auxiliary=aux or [],
        use=use or [],
        log_to=log_to or [],
        overrides=[parse_override(text) for text in set_ or []],
        timeout=timeout,
        start=from_,
        only=only,
        force=force,
    )
    terminal = console()
    prepared = prepare(
        options, lambda text: terminal.print(text, markup=False, highlight=False, soft_wrap=True)
    )
    if dry_run:
        from harness.show import plan_table

        terminal.print(plan_table(prepared))
        return
    # A terminated harness stops its stage and closes its record, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        record = Run(prepared, terminal).execute()
    except StageFailed as error:
        fail(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        again = "without --from and --force " if from_ or force else ""
        fail(f"interrupted; the same command {again}resumes where it stopped")
        raise typer.Exit(130) from None
    show_leaderboard(work_dir, record.dataset.name, record.run_id)
