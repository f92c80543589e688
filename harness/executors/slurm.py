"""Runs as jobs of a SLURM cluster, by submitit.

A job is a whole run, not a stage: it waits in the queue once, its record describes the machine that computed,
and a job that is requeued after pre-emption is the same command again, which reuses what is finished and
resumes what is not. Several runs are one array job.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError, nearest
from harness.sweep import SweepRun

if TYPE_CHECKING:
    from submitit.core.core import Job
    from submitit.core.utils import DelayedSubmission

CONTAINERS = {"docker": "docker", "apptainer": "apptainer", "none": "local"}  # → executor inside the job
_LOOK = 3.0  # seconds between two questions to the cluster
_LOST = 60.0  # seconds after which a job that is neither in the queue nor has left a result is lost
_GRACE = 30.0  # seconds for a run to end its stage
_SET_HERE = ("array", "error", "nodes", "ntasks-per-node", "output", "requeue", "signal", "time", "wrap")
_RESTARTS = 1000  # times that a job which reaches its time limit is requeued


@dataclass(frozen=True)
class SlurmOptions:
    """What a user may ask of the cluster; see `harness run --help`.

    Attributes:
        time: minutes after which a job is ended and requeued.
        container: what stages run in on the node, a key of `CONTAINERS`.
        gpus: per run.
        jobs: runs at a time; None for as many as the cluster has room for.
        sbatch: any other options of sbatch.
    """

    partition: str | None = None
    time: int = 24 * 60
    constraint: str | None = None
    container: str = "none"
    gpus: int = 0
    jobs: int | None = None
    sbatch: Mapping[str, str] = field(default_factory=dict)

    @property
    def inner_executor(self) -> str:
        """The executor that a run uses inside its job.

        Raises:
            InputError: there is no such container.
        """
        if self.container not in CONTAINERS:
            raise InputError(
                f"--container {self.container}{nearest(self.container, CONTAINERS)}: "
                f"take one of {', '.join(CONTAINERS)}"
            )
        return CONTAINERS[self.container]

    def parameters(self) -> dict[str, str | int | bool]:
        """Options of sbatch by name."""
        chosen: dict[str, str | int | bool | None] = {  # `time` is submitit's own
            "partition": self.partition,
            "constraint": self.constraint,
            "gpus-per-node": self.gpus or None,
            "nodes": 1,
            "ntasks-per-node": 1,
            "requeue": True,
            **self.sbatch,
        }
        return {name: value for name, value in chosen.items() if value is not None}


def parse_time(text: str) -> int:
    """Minutes of a time as sbatch takes it: minutes, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.

    Raises:
        InputError: it is none.
    """
    if not re.fullmatch(r"(\d+-\d+(:\d+){0,2}|\d+(:\d+){0,2})", text):
        raise InputError(f"--time {text} is no time: give minutes, HH:MM:SS or D-HH:MM:SS")
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return max(1, int(days or 0) * 1440 + hours * 60 + minutes + (seconds > 0))


def parse_sbatch(choices: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` for sbatch.

    Raises:
        InputError: one is of another form, or names what the harness sets itself.
    """
    found = {}
    for choice in choices:
        name, equals, value = choice.partition("=")
        name = name.removeprefix("--")
        if not equals or not re.fullmatch(r"[a-z][a-z0-9-]*", name) or "\n" in value:
            raise InputError(f"--sbatch {choice!r} is not of the form KEY=VALUE, as in account=vision")
        if name in _SET_HERE:
            raise InputError(f"--sbatch {choice}: the harness sets {name} itself; leave it out")
        found[name] = value
    return found


class RunInJob:
    """What a job does: `harness run`, whose status it returns. It is pickled by submitit.

    Args:
        command: of the run.
        log: file that gets its output.
        folder: in which it is executed.
    """

    def __init__(self, command: Sequence[str], log: str, folder: str) -> None:
        self.command, self.log, self.folder = list(command), log, folder
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Execute the command; returns its exit status."""
        with Path(self.log).open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                preexec_fn=_ignore_warning,
            )
        while (status := self._process.poll()) is None:  # not wait(): `checkpoint` interrupts it
            time.sleep(0.2)
        return status

    def checkpoint(self) -> DelayedSubmission:
        """Called before the job is pre-empted or reaches its time limit: end the run and requeue the job."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.terminate()
            deadline = time.monotonic() + _GRACE
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
        return DelayedSubmission(RunInJob(self.command, self.log, self.folder))


def _ignore_warning() -> None:
    """SLURM's warning goes to every process of a job; it is submitit that must act on it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


class SlurmLauncher:
    """Submits runs as one array job, and asks the cluster how they are.

    Args:
        runs: to execute.
        options: for the cluster.
        folder: for submitit's files; nodes must see it, as they must see the work folder.

    Raises:
        InputError: there is no cluster, or it refuses the job.
    """

    def __init__(self, runs: Sequence[SweepRun], options: SlurmOptions, folder: Path) -> None:
        self.room = min(len(runs), options.jobs or len(runs))
        self._runs = {run.run_id: run for run in runs}
        self._jobs = dict(zip(self._runs, submit(runs, options, folder), strict=True))
        self._queue: dict[str, str] = {}
        self._status: dict[str, int] = {}
        self._looked = 0.0
        self._missing: dict[str, float] = {}

    @property
    def job_ids(self) -> list[str]:
        """Of the cluster, by run."""
        return [job.job_id for job in self._jobs.values()]

    def advance(self) -> None:
        """Ask the cluster, now and then."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        queue = queued(self.job_ids)
        if queue is None:
            return
        self._queue = queue
        for run_id, job in self._jobs.items():
            # What a job left that is queued again is not its last word.
            if run_id in self._status or job.job_id in queue:
                self._missing.pop(run_id, None)
            elif job.paths.result_pickle.exists():
                self._status[run_id] = _status_of(job.paths.result_pickle)
            elif time.monotonic() - self._missing.setdefault(run_id, time.monotonic()) > _LOST:
                self._lose(run_id, job)

    def status(self, run: SweepRun) -> int | None:
        """Exit status of a run that ended; None before."""
        return self._status.get(run.run_id)

    def word(self, run: SweepRun) -> str:
        """What the cluster says of a run's job."""
        state = self._queue.get(self._jobs[run.run_id].job_id, "submitted")
        return "" if state in ("running", "completing") else f"job {self._jobs[run.run_id].job_id}: {state}"

    def stop(self) -> None:
        """Cancel all jobs, and wait until they have left the queue."""
        ids = [job.job_id for run_id, job in self._jobs.items() if run_id not in self._status]
        if not ids:
            return
        subprocess.run(["scancel", *ids], capture_output=True, check=False)
        deadline = time.monotonic() + 2 * _GRACE
        while queued(ids) and time.monotonic() < deadline:
            time.sleep(0.5)

    def _lose(self, run_id: str, job: Job[int]) -> None:
        with self._runs[run_id].log.open("a", encoding="utf-8") as log:
            log.write(f"error: job {job.job_id} left the queue without a result; see {job.paths.stderr}\n")
        self._status[run_id] = 1


def require_cluster() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        InputError: they cannot.
    """
    if shutil.which("sbatch") is None:
        raise InputError("--executor slurm: there is no sbatch here; run it on a node of the cluster")


def submit(runs: Sequence[SweepRun], options: SlurmOptions, folder: Path) -> list[Job[int]]:
    """Submit runs as one array job.

    Raises:
        InputError: the cluster refuses it.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_RESTARTS)
    executor.update_parameters(
        job_name="wsss-harness",
        time=options.time,
        array_parallelism=options.jobs or max(len(runs), 1),
        additional_parameters=options.parameters(),
        stderr_to_stdout=True,
    )
    jobs: list[Job[int]] = []
    try:
        with executor.batch():
            for run in runs:
                jobs.append(executor.submit(RunInJob(run.command, str(run.log), str(Path.cwd()))))
    except submitit.core.utils.FailedJobError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ")
        raise InputError(f"the cluster refuses the job: {reason}") from error
    return jobs


def queued(ids: Sequence[str]) -> dict[str, str] | None:
    """State of the jobs that are in the queue: `running`, or why it waits; None: no answer this time."""
    asked = ",".join(sorted({job_id.split("_")[0] for job_id in ids}))
    form = "%i|%T|%r"
    command = ["squeue", "--noheader", "--array", f"--jobs={asked}", f"--format={form}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {} if "Invalid job id" in done.stderr else None
    found = {}
    for line in done.stdout.splitlines():
        job_id, state, reason = line.split("|", 2)
        found[job_id] = state.lower() + (f" ({reason})" if state == "PENDING" and reason != "None" else "")
    return found


def _status_of(result: Path) -> int:
    """The exit status in a result of submitit; 1 where the job itself failed."""
    from submitit.core.utils import pickle_load

    outcome, value = pickle_load(result)
    return int(value) if outcome == "success" else 1
