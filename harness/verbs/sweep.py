"""`harness sweep`: many runs, on the GPUs of this machine or on a cluster."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InputError
from harness.verbs import options
from harness.verbs.terminal import WorkDir, console, fail, warn

if TYPE_CHECKING:
    from harness.executors.slurm import SlurmOptions
    from harness.sweep import Combination, SweepRun
    from harness.sweep_view import RunView

CLUSTER = ("partition", "time", "constraint", "container", "sbatch")
_OWN = ("methods", "datasets", "seeds", "variant", "data", "work_dir", "executor", "jobs", "gpus_per_run")


def sweep(
    context: typer.Context,
    methods: Annotated[str, typer.Option(metavar="NAME,NAME", help="Methods, folders of methods/.")],
    datasets: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Datasets: voc, coco, shapes.")
    ] = "shapes",
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds.")] = "0",
    variant: Annotated[
        str | None, typer.Option(help="Variant of each config: <dataset>_<variant>.py.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Folder of a dataset, as in voc=DIR; repeatable."),
    ] = None,
    work_dir: WorkDir = Path("work"),
    executor: options.Executor = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time; by default as many as there are GPUs for, 1 without GPUs."),
    ] = None,
    gpus_per_run: Annotated[
        int | None, typer.Option(min=0, help="GPUs per stage of each run; one if there is one.")
    ] = None,
    processes: options.Processes = None,
    weights: options.Weights = None,
    set_: options.Set = None,
    aux: options.Aux = None,
    limit: options.Limit = None,
    smoke: options.Smoke = False,
    log_to: options.LogTo = None,
    timeout: options.Timeout = 7 * 86400,
    memory: options.Memory = None,
    partition: options.Partition = None,
    time: options.Time = None,
    constraint: options.Constraint = None,
    container: options.Container = None,
    sbatch: options.Sbatch = None,
) -> None:
    """Run methods on datasets with seeds, each as a run of its own; what is there already is reused."""
    from harness.sweep import combine

    combinations = combine(_names(methods), _names(datasets), _seeds(seeds), variant)
    roots = _roots(data or [], {combination.dataset for combination in combinations})
    passed = passed_on(context, (*_OWN, *CLUSTER))
    if executor == "slurm":
        cluster = slurm_options(gpus_per_run, jobs, partition, time, constraint, container, sbatch)
        on_cluster(combinations, work_dir, passed, roots, cluster)
        return
    refuse_cluster_options(context)
    on_this_machine(combinations, work_dir, [*passed, "--executor", executor], roots, jobs, gpus_per_run)


def on_this_machine(
    combinations: Sequence[Combination],
    work: Path,
    passed: Sequence[str],
    roots: dict[str, Path],
    jobs: int | None,
    gpus_per_run: int | None,
) -> None:
    """Execute the runs as processes of this machine, as many at a time as there are GPUs for.

    Raises:
        InputError: there are fewer GPUs than a run is to have.
    """
    from harness.gpus import visible_gpus
    from harness.prepare import require_folder, usable_gpus
    from harness.sweep import plan_runs
    from harness.sweep_local import LocalLauncher

    require_folder(work)
    there = len(visible_gpus())
    each = usable_gpus(gpus_per_run, there)
    room = jobs or max(1, there // each if each else 1)
    runs = plan_runs(combinations, work, [*passed, "--gpus", str(each)], roots)
    carry_out(runs, LocalLauncher(runs, min(room, len(runs))), work)


def on_cluster(
    combinations: Sequence[Combination],
    work: Path,
    passed: Sequence[str],
    roots: dict[str, Path],
    cluster: SlurmOptions,
) -> None:
    """Execute the runs as an array job.

    Raises:
        InputError: there is no cluster, or it refuses the job.
    """
    from harness.executors.slurm import SlurmLauncher, require_cluster
    from harness.prepare import require_folder
    from harness.sweep import plan_runs

    require_folder(work)
    require_cluster()
    inner = ["--executor", cluster.inner_executor, "--gpus", str(cluster.gpus)]
    runs = plan_runs(combinations, work, [*passed, *inner], roots)
    launcher = SlurmLauncher(runs, cluster, work.resolve() / "slurm" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}")
    _say(f"submitted as {', '.join(launcher.job_ids)}; the jobs go on if this command is killed")
    carry_out(runs, launcher, work)


def carry_out(runs: Sequence[SweepRun], launcher: object, work: Path) -> None:
    """Execute runs, print how each ended and their leaderboard; exit status 1 if one failed."""
    from harness.sweep import Launcher, Sweep
    from harness.sweep_view import SweepView, sweep_table

    assert isinstance(launcher, Launcher)
    terminal = console()
    # A terminated sweep ends its runs, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        views = Sweep(runs, launcher, SweepView(terminal)).execute()
    except KeyboardInterrupt:
        fail("interrupted; the same command resumes where the runs stopped")
        raise typer.Exit(130) from None
    terminal.print(sweep_table(views))
    _show_board(runs, work)
    failed = [view for view in views if view.state != "done"]
    if failed:
        _tell_failures(failed, len(views))
        raise typer.Exit(1)


def passed_on(context: typer.Context, without: Collection[str]) -> list[str]:
    """The options that the user typed, for the command of a run."""
    passed: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in without or source is None or source.name != "COMMANDLINE":
            continue
        value, option = context.params[name], parameter.opts[0]
        if isinstance(value, bool):
            passed += [option] if value else []
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            passed += [option, str(one)]
    return passed


def slurm_options(
    gpus: int | None,
    jobs: int | None,
    partition: str | None,
    time: str | None,
    constraint: str | None,
    container: str | None,
    sbatch: list[str] | None,
) -> SlurmOptions:
    """What the user wants of the cluster.

    Raises:
        InputError: a time, container or option is none.
    """
    from harness.executors.slurm import SlurmOptions, parse_sbatch, parse_time

    given = {"container": container, "time": parse_time(time) if time else None}
    chosen = SlurmOptions(
        partition=partition,
        constraint=constraint,
        gpus=gpus or 0,
        jobs=jobs,
        sbatch=parse_sbatch(sbatch or []),
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    chosen.inner_executor  # noqa: B018  raises for an unknown container
    return chosen


def refuse_cluster_options(context: typer.Context) -> None:
    """Check that no option of the cluster was given without one.

    Raises:
        InputError: one was.
    """
    given = [name for name in CLUSTER if context.params.get(name)]
    if given:
        raise InputError(f"--{given[0]} is for --executor slurm: add that, or leave it out")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    names = _names(text)
    if wrong := [name for name in names if not name.isdecimal()]:
        raise InputError(f"--seeds {text}: '{wrong[0]}' is no seed; give whole numbers, as in 0,1,2")
    return [int(name) for name in names]


def _roots(choices: Sequence[str], datasets: Collection[str]) -> dict[str, Path]:
    roots = {}
    for choice in choices:
        name, equals, folder = choice.partition("=")
        if not equals or not folder:
            raise InputError(f"--data {choice!r} is not of the form NAME=DIR, as in voc=/data/VOCdevkit")
        if name not in datasets:
            raise InputError(f"--data {choice}: the sweep has no dataset '{name}': name one of --datasets")
        roots[name] = Path(folder)
    return roots


def _show_board(runs: Sequence[SweepRun], work: Path) -> None:
    """The leaderboard of these runs alone."""
    from harness.record import read_records
    from leaderboard.aggregate import make_board
    from leaderboard.table import terminal_table

    ids = {run.run_id for run in runs}
    board = make_board([record for record in read_records(work, warn) if record.run_id in ids])
    for table in board.datasets:
        if table.entries:
            console().print(terminal_table(table, None))


def _tell_failures(failed: Sequence[RunView], count: int) -> None:
    for view in failed:
        fail(f"{view.name}: {view.state}: {view.note}")
    fail(f"{len(failed)} of {count} runs did not end well; the same command goes on where they stopped")


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False, soft_wrap=True)
