"""Execution of a plan: stage after stage, with a record that is true at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from harness.artifact import Artifact
from harness.errors import InputError
from harness.executors import Exit, Job
from harness.files import write_json
from harness.gpus import held_gpus, visible_gpus
from harness.plan import PlannedStage, select, stages_to_visit
from harness.prepare import Prepared, cpu_workers
from harness.progress import read_progress
from harness.provenance import new_record
from harness.record import (
    RunRecord,
    StageRecord,
    State,
)
from harness.report import read_report
from harness.request import DatasetRequest, RunLabel, StageRequest
from harness.schema import ForeignStage, TrainStage
from harness.training_logs import mlflow_store
from harness.watch import Watch, duration
from harness.weights import ResolvedWeights

# Threads of torch that wait by spinning take the cores from the data loader: trainings on a CPU were measured
# to be four times slower.
STAGE_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
_POLL = 0.1  # seconds between two looks at a running stage


class StageFailed(Exception):
    """A stage ended badly; the message says how and where its log is."""

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state: State = state


@dataclass
class Run:
    """One execution of a prepared plan."""

    prepared: Prepared
    console: Console

    def execute(self) -> RunRecord:
        """Execute what is not there yet; returns the finished record.

        Raises:
            InputError: a stage found its input wrong.
            StageFailed: a stage crashed, ran out of memory or time.
            KeyboardInterrupt: the user pressed Ctrl-C; the running stage was stopped and can be resumed.
        """
        options, plan = self.prepared.options, self.prepared.plan
        forced = select(plan, start=options.start, only=options.only, force=options.force)
        visit = stages_to_visit(plan, options.only)
        self.record = new_record(self.prepared)
        self.folder = options.work.resolve() / "runs" / self.record.run_id
        # A run whose id was given may be the second attempt of a job that a cluster has requeued.
        (self.folder / "logs").mkdir(parents=True, exist_ok=options.run_id is not None)
        self.record.write(self.folder)
        state: State = "failed"
        try:
            with Watch(self.console, [stage.name for stage in visit]) as watch:
                for stage in visit:
                    self._visit(stage, watch, fresh=stage.name in forced)
            state = "done"
        except KeyboardInterrupt:
            state = "interrupted"
            raise
        except InputError as error:
            state, self.record.error = "wrong input", str(error)
            raise
        except StageFailed as error:
            state, self.record.error = error.state, str(error)
            raise
        finally:
            self.record.state, self.record.ended = state, datetime.now(UTC)
            self.record.write(self.folder)
        return self.record

    def _visit(self, stage: PlannedStage, watch: Watch, *, fresh: bool) -> None:
        """Reuse the stage's artifact or make it."""
        if stage.imported:  # and was found whole when the plan was made
            watch.skip(stage.name, "imported")
            return
        entry = next(entry for entry in self.record.stages if entry.name == stage.name)
        waits = partial(self._say, f"stage '{stage.name}' waits for another run that makes it")
        with locked(stage.artifact, waits if self.prepared.options.wait else None):
            artifact = replace(stage.artifact)  # a fresh object: the manifest may have changed since planning
            if artifact.complete and not fresh:
                problem = artifact.problem() or _reuse(artifact, entry)
                if problem is None:
                    watch.skip(stage.name, "reused" + _metrics_text(entry))
                    return
                self._say(f"warning: {problem}; stage '{stage.name}' is done again")
                artifact.discard()
            elif fresh:
                artifact.discard()
            entry.state, entry.started = "running", datetime.now(UTC)
            self.record.write(self.folder)
            watch.begin(stage.name, stage.config.type)
            try:
                waits = partial(self._say, f"stage '{stage.name}' waits until other runs leave a GPU to it")
                there = visible_gpus() if self.prepared.gpus else ()
                with held_gpus(there, self.prepared.gpus, waits) as gpus:
                    self._execute(stage, watch, gpus)
                entry.state, entry.report = "done", read_report(artifact.folder)
            except BaseException as error:
                entry.state, entry.error = "failed", str(error) or type(error).__name__
                watch.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise
            finally:
                entry.ended = datetime.now(UTC)
                self.record.write(self.folder)
        seconds = (entry.ended - entry.started).total_seconds()
        watch.end(f"done in {duration(seconds)}" + _metrics_text(entry))

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _execute(self, stage: PlannedStage, watch: Watch, gpus: tuple[str, ...]) -> None:
        prepared, options = self.prepared, self.prepared.options
        artifact = stage.artifact.open()
        (artifact.folder / "error.json").unlink(missing_ok=True)
        job = self._job(stage, gpus)
        write_json(artifact.folder / "stage.json", self._request(stage).model_dump(mode="json"))
        began, began_at = time.monotonic(), time.time()
        process = prepared.executor.start(job)
        try:
            while (ended := process.poll()) is None:
                progress = read_progress(artifact.folder)
                if progress is not None and progress.started >= began_at:  # not that of a killed predecessor
                    watch.show(progress)
                if time.monotonic() - began > options.timeout:
                    raise StageFailed(
                        f"stage '{stage.name}' was stopped after the time limit of {options.timeout:g} s "
                        "(--timeout); run again to resume it",
                        "timeout",
                    )
                time.sleep(_POLL)
        except BaseException:
            process.stop()
            raise
        if ended.status != 0:
            raise _failure(stage, ended, job.log)
        if not artifact.complete:
            raise StageFailed(
                f"stage '{stage.name}' ended well but left no manifest; its log is {job.log}", "failed"
            )

    def _job(self, stage: PlannedStage, gpus: tuple[str, ...]) -> Job:
        prepared, options = self.prepared, self.prepared.options
        weights = self._weights(stage)
        foreign = stage.config.foreign if isinstance(stage.config, ForeignStage) else None
        read_only = [prepared.plan[source].artifact.folder for source in stage.inputs.values()]
        read_only += [prepared.dataset.root, *([weights.path] if weights else [])]
        read_only += self._auxiliary(stage).values()
        return Job(
            name=stage.name,
            key=stage.key,
            method=prepared.options.method,
            folder=stage.artifact.folder,
            read_only=tuple(dict.fromkeys(path.resolve() for path in read_only)),
            log=self.folder / "logs" / f"{stage.name}.log",
            gpus=gpus,
            memory_limit=int(options.memory * (1 << 30)) if options.memory else None,
            workers=cpu_workers(),
            env=STAGE_ENVIRONMENT,
            image=foreign.image if foreign else None,
            command=tuple(foreign.command) if foreign else (),
        )

    def _weights(self, stage: PlannedStage) -> ResolvedWeights | None:
        config = stage.config
        if not isinstance(config, TrainStage) or config.weights is None:
            return None
        return self.prepared.weights.get(config.weights.name)

    def _auxiliary(self, stage: PlannedStage) -> dict[str, Path]:
        names = stage.config.auxiliary if isinstance(stage.config, TrainStage) else []
        return {name: self.prepared.auxiliary[name].folder for name in names}

    def _request(self, stage: PlannedStage) -> StageRequest:
        prepared = self.prepared
        config = stage.config
        weights = self._weights(stage)
        return StageRequest(
            stage=stage.name,
            type=config.type,
            key=stage.key,
            config=config.model_dump(mode="json"),
            custom_imports=prepared.config.custom_imports,
            dataset=DatasetRequest(
                name=prepared.dataset.name,
                root=prepared.dataset.root.resolve(),
                num_classes=prepared.dataset.num_classes,
                labels=prepared.dataset.labels,
                ids={split: list(prepared.ids[split]) for split in config.splits()},
            ),
            auxiliary=self._auxiliary(stage),
            inputs={role: prepared.plan[source].artifact.folder for role, source in stage.inputs.items()},
            weights=weights.path.resolve() if weights else None,
            weights_layout=weights.layout if weights else None,
            seed=prepared.options.seed,
            smoke=prepared.options.smoke,
            run=RunLabel(
                run_id=self.record.run_id,
                method=self.record.method,
                variant=self.record.variant,
                mlruns=mlflow_store(prepared.options.work),
            ),
            log_to=list(prepared.options.log_to),
            workers=cpu_workers(),
            gpus=prepared.gpus,
            processes=prepared.processes,
        )


@contextmanager
def locked(artifact: Artifact, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an artifact for this process.

    Args:
        artifact: what to hold.
        on_wait: called when another harness is making it, which is then waited for; None to refuse instead.

    Raises:
        InputError: another harness is making it right now, and is not waited for.
    """
    artifact.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(artifact.folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout as error:
        if on_wait is None:
            raise InputError(
                f"another harness is working on {artifact.folder}: add --wait to wait for it, or use another "
                "--work-dir"
            ) from error
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _reuse(artifact: Artifact, entry: StageRecord) -> str | None:
    """Enter the report of an artifact that is there into the record, or say why that cannot be done."""
    try:
        entry.report = read_report(artifact.folder)
    except ValueError:
        return f"{artifact.folder / 'report.json'} cannot be read"
    entry.state = "reused"
    return None


def _failure(stage: PlannedStage, ended: Exit, log: Path) -> InputError | StageFailed:
    """What to raise for a stage that did not end well."""
    if ended.status == 2:
        try:
            return InputError(
                json.loads((stage.artifact.folder / "error.json").read_text(encoding="utf-8"))["message"]
            )
        except (OSError, ValueError, KeyError):
            return InputError(
                _last_line(log).removeprefix("error: ") or f"stage '{stage.name}' refused its input"
            )
    if ended.reason == "out of memory":
        return StageFailed(
            f"stage '{stage.name}' ran out of memory: lower its batch size or num_workers; its log is {log}",
            "out of memory",
        )
    return StageFailed(
        f"stage '{stage.name}' {ended.reason} (exit status {ended.status}): {_last_line(log)}; "
        f"its log is {log}",
        "failed",
    )


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _metrics_text(entry: StageRecord) -> str:
    """The stage's mIoU values in a few words."""
    metrics = entry.report.metrics if entry.report else []
    parts = []
    for metric in metrics:
        at = (
            f" at threshold {metric.threshold:g} ({metric.protocol.threshold})"
            if metric.threshold is not None
            else ""
        )
        parts.append(f"{metric.number} {metric.protocol.metric} {100 * metric.value:.1f}{at}")
    return f": {', '.join(parts)}" if parts else ""
