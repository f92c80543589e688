"""Many runs: every method on every dataset with every seed, each as a `harness run` of its own."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.config import find_config
from harness.errors import InputError
from harness.progress import read_progress
from harness.provenance import new_run_id
from harness.record import RunRecord, read_record
from harness.sweep_view import RunView, SweepView

_POLL = 0.2  # seconds between two looks at the runs
UNFINISHED = ("waiting", "starting", "running")


@dataclass(frozen=True)
class Combination:
    """What one run of a sweep is of."""

    method: str
    dataset: str
    variant: str | None
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return " ".join(filter(None, (self.method, self.dataset, self.variant, f"seed {self.seed}")))


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        folder: of the run; `harness.log` there gets what its command prints.
        arguments: of `harness run`.
        module: that takes them.
    """

    combination: Combination
    run_id: str
    folder: Path
    arguments: tuple[str, ...]
    module: str = "harness.cli"

    @property
    def log(self) -> Path:
        """What the run's command prints."""
        return self.folder / "harness.log"

    @property
    def command(self) -> list[str]:
        """The command, for a process that is not watched by this one."""
        return [sys.executable, "-m", self.module, *self.arguments]

    def record(self) -> RunRecord | None:
        """The run's record; None before there is one."""
        try:
            return read_record(self.folder / "record.json")
        except InputError:
            return None


@runtime_checkable
class Launcher(Protocol):
    """Starts the runs of a sweep, as many at a time as there is room for."""

    room: int

    def advance(self) -> None:
        """Start what there is room for, and see what has ended. Returns soon."""

    def status(self, run: SweepRun) -> int | None:
        """Exit status of a run that ended; None before."""

    def word(self, run: SweepRun) -> str:
        """What a run waits for that does not run yet, or not any more; nothing for one that was started."""

    def stop(self) -> None:
        """End all runs, and wait until they are gone."""


def combine(
    methods: Sequence[str], datasets: Sequence[str], seeds: Sequence[int], variant: str | None = None
) -> list[Combination]:
    """All combinations, seed by seed, so that a first result of everything comes early.

    Raises:
        InputError: nothing is asked for, or combinations have no config.
    """
    for option, values in (("methods", methods), ("datasets", datasets), ("seeds", seeds)):
        if not values:
            raise InputError(f"--{option} is empty: name at least one")
    problems = []
    for method, dataset in itertools.product(dict.fromkeys(methods), dict.fromkeys(datasets)):
        try:
            find_config(method, dataset, variant)
        except InputError as error:
            problems.append((f"{method} on {dataset}", error))
    if len(problems) == 1:
        raise problems[0][1]
    if problems:
        names = ", ".join(name for name, _ in problems)
        raise InputError(f"there is no config for {names}: leave them out, or see `harness methods`")
    return [
        Combination(method, dataset, variant, seed)
        for seed, dataset, method in itertools.product(
            dict.fromkeys(seeds), dict.fromkeys(datasets), dict.fromkeys(methods)
        )
    ]


def plan_runs(
    combinations: Sequence[Combination], work: Path, options: Sequence[str], roots: Mapping[str, Path]
) -> list[SweepRun]:
    """The runs, with the folder of each made.

    Args:
        combinations: what they are of.
        work: the work folder that they share.
        options: of `harness run`, for all of them.
        roots: folder of the data by dataset.

    Raises:
        OSError: a folder cannot be made.
    """
    runs = []
    for combination in combinations:
        run_id = new_run_id(combination.method, combination.dataset, combination.variant)
        folder = work.resolve() / "runs" / run_id
        folder.mkdir(parents=True)
        arguments = ["run", "--method", combination.method, "--dataset", combination.dataset]
        arguments += ["--seed", str(combination.seed), "--work-dir", str(work.resolve()), "--wait"]
        arguments += ["--variant", combination.variant] if combination.variant else []
        if combination.dataset in roots:
            arguments += ["--data-root", str(roots[combination.dataset].resolve())]
        arguments += ["--run-id", run_id, *options]
        runs.append(SweepRun(combination, run_id, folder, tuple(arguments)))
    return runs


class Sweep:
    """Runs being executed.

    Args:
        runs: to execute.
        launcher: starts them.
        view: shows how far they are.
    """

    def __init__(self, runs: Sequence[SweepRun], launcher: Launcher, view: SweepView) -> None:
        self._runs, self._launcher, self._view = runs, launcher, view
        self._began: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def execute(self) -> list[RunView]:
        """Execute all runs; one that fails does not concern the others. Returns how each ended.

        Raises:
            KeyboardInterrupt: the user pressed Ctrl-C; all runs were ended and can be resumed.
        """
        try:
            with self._view:
                while True:
                    self._launcher.advance()
                    views = [self._look(run) for run in self._runs]
                    self._view.show(views, self._eta(views))
                    if all(view.state not in UNFINISHED for view in views):
                        return views
                    time.sleep(_POLL)
        except BaseException:
            self._launcher.stop()
            raise

    def _look(self, run: SweepRun) -> RunView:
        name, status, record = run.combination.name, self._launcher.status(run), run.record()
        word = self._launcher.word(run)
        if status is None and (record is None or word):
            return RunView(name, "waiting" if word else "starting", word)
        began = self._began.setdefault(run.run_id, time.monotonic())
        if status is None:
            assert record is not None
            return RunView(name, "running", *_stage_of(record, run))
        self._seconds.setdefault(run.run_id, time.monotonic() - began)
        if status == 0:
            return RunView(name, "done", "", self._seconds[run.run_id])
        state = "wrong input" if record is None and status == 2 else "failed"
        if record is not None and record.state not in ("running", "done"):
            state = record.state
        reason = (record.error if record else None) or _last_line(run.log)
        return RunView(name, state, reason, self._seconds[run.run_id])

    def _eta(self, views: Sequence[RunView]) -> float | None:
        """Seconds to go, at the mean of the runs that are done; None before the first one is."""
        known = [view.seconds for view in views if view.state == "done" and view.seconds is not None]
        if not known:
            return None
        mean, now = sum(known) / len(known), time.monotonic()
        to_go = 0.0
        for run, view in zip(self._runs, views, strict=True):
            if view.state in UNFINISHED:
                gone = now - self._began[run.run_id] if run.run_id in self._began else 0.0
                to_go += max(mean - gone, 0.0)
        return to_go / self._launcher.room


def _stage_of(record: RunRecord, run: SweepRun) -> tuple[str, float | None]:
    """Which stage a run is at and how far that is, in words; and seconds that the stage has to go."""
    done = [stage for stage in record.stages if stage.state in ("done", "reused", "imported")]
    current = next((stage for stage in record.stages if stage.state == "running"), None)
    place = f"stage {min(len(done) + 1, len(record.stages))}/{len(record.stages)}"
    if current is None:
        return place, None
    progress = read_progress(run.folder.parents[1] / current.artifact)
    if progress is None or current.started is None or progress.started < current.started.timestamp():
        return f"{place} {current.name}", None
    return f"{place} {current.name} {progress.done}/{progress.total} {progress.unit}", progress.eta


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("error: ")
