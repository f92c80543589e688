"""`harness run`: train, infer, refine, evaluate."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.verbs import options
from harness.verbs.leaderboard import show_leaderboard
from harness.verbs.sweep import CLUSTER, on_cluster, passed_on, refuse_cluster_options, slurm_options
from harness.verbs.terminal import WorkDir, console, fail

# What the command of a run in a job is given otherwise.
_OWN = ("method", "dataset", "variant", "seed", "data_root", "work_dir", "executor", "gpus", "wait", "run_id")


def run(
    context: typer.Context,
    method: Annotated[str, typer.Option(help="Method, a folder of methods/.")],
    dataset: Annotated[str, typer.Option(help="Dataset: voc, coco or shapes.")] = "shapes",
    variant: Annotated[
        str | None, typer.Option(help="Variant of the config: <dataset>_<variant>.py.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the dataset (VOC: VOCdevkit).")] = None,
    work_dir: WorkDir = Path("work"),
    executor: options.Executor = "auto",
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs per stage; one if there is one, unless said otherwise.")
    ] = None,
    processes: options.Processes = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    weights: options.Weights = None,
    set_: options.Set = None,
    aux: options.Aux = None,
    use: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE=PATH", help="Imported results in the place of a stage's; repeatable."),
    ] = None,
    limit: options.Limit = None,
    smoke: options.Smoke = False,
    log_to: options.LogTo = None,
    timeout: options.Timeout = 7 * 86400,
    memory: options.Memory = None,
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
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another run that makes the same stage.")
    ] = False,
    run_id: Annotated[str | None, typer.Option(hidden=True)] = None,
    partition: options.Partition = None,
    time: options.Time = None,
    constraint: options.Constraint = None,
    container: options.Container = None,
    sbatch: options.Sbatch = None,
) -> None:
    """Run a method on a dataset: train, infer, refine, evaluate; what is there already is reused."""
    from harness.config import parse_override
    from harness.prepare import RunOptions, prepare
    from harness.run import Run, StageFailed
    from harness.sweep import combine

    if executor == "slurm":
        if dry_run:
            raise InputError("--dry-run submits nothing: leave out --executor slurm")
        cluster = slurm_options(gpus, None, partition, time, constraint, container, sbatch)
        combinations = combine([method], [dataset], [seed], variant)
        roots = {dataset: data_root} if data_root else {}
        on_cluster(combinations, work_dir, passed_on(context, (*_OWN, *CLUSTER)), roots, cluster)
        return
    refuse_cluster_options(context)
    chosen = RunOptions(
        method=method,
        dataset=dataset,
        variant=variant,
        data_root=data_root,
        work=work_dir,
        executor=executor,
        gpus=gpus,
        processes=processes,
        seed=seed,
        limit=limit,
        smoke=smoke,
        weights=weights or [],
        auxiliary=aux or [],
        use=use or [],
        log_to=log_to or [],
        overrides=[parse_override(text) for text in set_ or []],
        timeout=timeout,
        memory=memory,
        start=from_,
        only=only,
        force=force,
        wait=wait,
        run_id=run_id,
    )
    terminal = console()
    prepared = prepare(
        chosen, lambda text: terminal.print(text, markup=False, highlight=False, soft_wrap=True)
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
