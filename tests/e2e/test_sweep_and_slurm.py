"""Sweeps of real runs on this machine, and runs as jobs of a real SLURM cluster of one node."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from torch import Tensor

from harness.executors.slurm import SlurmLauncher, SlurmOptions, queued
from harness.record import RunRecord, read_records
from harness.report import Report
from harness.sweep import Sweep
from harness.sweep_view import SweepView
from tests.command import Command, Outcome
from tests.e2e.work_folder import held, in_the_middle
from tests.tiny_stages import same, weights_of
from tests.unit.test_many_runs import probe
from tests.waiting import until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

SHORT = (  # a training that can be pre-empted in the middle
    *("--limit", "6"),
    *("--set", "stages.cam.train_cfg.max_epochs=none", "--set", "stages.cam.train_cfg.max_iters=16"),
    *("--set", "stages.cam.train_cfg.checkpoint_interval=2"),
    *("--set", "stages.cam.train_dataloader.batch_size=4"),
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster that takes jobs, which find the project as this process does and end with the test."""
    if shutil.which("sinfo") is None:
        pytest.skip("SLURM is not installed (ci/slurm-bootstrap.sh installs it)")
    asked = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, check=False, timeout=60)
    if asked.returncode != 0:
        pytest.skip(f"no SLURM cluster answers (ci/slurm-bootstrap.sh starts one): {asked.stderr.strip()}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield
    for submitted in tmp_path.rglob("*_submitted.pkl"):  # else it is queued again and again
        subprocess.run(["scancel", submitted.name.split("_")[0]], check=False, capture_output=True)


def requeue(job_id: str) -> None:
    """Pre-empt a job as an administrator does."""
    subprocess.run(["scontrol", "requeue", job_id], check=True)

    def waits() -> bool:
        return (queued([job_id]) or {}).get(job_id, "").startswith("pending")

    until(waits, "the job to be queued again")
    begin_soon(job_id)


def begin_soon(job_id: str) -> None:
    """Cut short the two minutes that SLURM pauses after a requeue.

    Not at once: a node refuses a job in the second in which it revoked the credential of its last start.
    """
    subprocess.run(["scontrol", "update", f"jobid={job_id}", "starttime=now+3"], check=True)


@pytest.fixture(scope="module")
def swept(
    command: Command, shapes_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    """The work folder of a sweep over two seeds, and what it printed."""
    work = tmp_path_factory.mktemp("swept") / "work"
    outcome = command(
        *("sweep", "--methods", "cam", "--datasets", "shapes", "--seeds", "0,1", "--jobs", "2"),
        *("--data", f"shapes={shapes_root}", "--work-dir", work, "--executor", "local", *SHORT),
    )
    assert outcome.status == 0, outcome
    return work, outcome


def record_of(work: Path, seed: int) -> RunRecord:
    (record,) = (record for record in read_records(work, pytest.fail) if record.seed == seed)
    return record


def training_of(work: Path, seed: int) -> tuple[dict[str, Tensor], Report]:
    """The weights that a run's training made, and its report."""
    (stage,) = (stage for stage in record_of(work, seed).stages if stage.name == "cam")
    assert stage.report is not None
    return weights_of(work / stage.artifact), stage.report


def test_a_sweep_ends_with_the_leaderboard_of_its_runs(swept: tuple[Path, Outcome]) -> None:
    work, outcome = swept
    assert "cam shapes seed 1: done" in outcome.output
    assert "2 of 2 runs done, 0:00 to go" in outcome.output
    assert "limit 6" in outcome.output[outcome.output.index("mIoU (%) on shapes") :]
    records = [record_of(work, seed) for seed in (0, 1)]
    assert [(record.state, record.limit) for record in records] == [("done", 6)] * 2
    assert not same(training_of(work, 0)[0], training_of(work, 1)[0])


@pytest.mark.usefixtures("cluster")
def test_runs_are_one_array_job_and_a_failed_one_does_not_concern_the_others(tmp_path: Path) -> None:
    runs = [probe(tmp_path, "one"), probe(tmp_path, "two", "fails"), probe(tmp_path, "three", "waits")]
    launcher = SlurmLauncher(runs, SlurmOptions(time=5), tmp_path / "slurm")
    assert len({job_id.split("_")[0] for job_id in launcher.job_ids}) == 1
    until(lambda: (runs[2].folder / "attempt_0").exists(), "the third run to begin")
    # As before the end of a job's time, or a pre-emption with a warning: the run ends its stage first.
    subprocess.run(["scancel", "--signal=USR2", launcher.job_ids[2]], check=True)
    until(lambda: (runs[2].folder / "terminated").exists(), "the third run to be ended")
    job = launcher.job_ids[2]
    until(lambda: (queued([job]) or {}).get(job, "").startswith("pending"), "the job to be queued again")
    begin_soon(job)
    views = Sweep(runs, launcher, SweepView(Console(file=io.StringIO()))).execute()
    assert [(view.state, view.note) for view in views] == [
        ("done", ""),
        ("wrong input", "it is asked for"),
        ("done", ""),
    ]
    assert runs[2].log.read_text().split("\n")[:2] == ["attempt 0", "attempt 1"]


@pytest.mark.usefixtures("cluster")
def test_cancelled_runs_end_and_leave_the_queue(tmp_path: Path) -> None:
    runs = [probe(tmp_path, "one", "waits")]
    launcher = SlurmLauncher(runs, SlurmOptions(time=5), tmp_path / "slurm")
    until(lambda: (runs[0].folder / "attempt_0").exists(), "the run to begin")
    until(lambda: "attempt 0" in runs[0].log.read_text(), "the run to be at work")
    launcher.stop()
    assert not queued(launcher.job_ids)
    assert (runs[0].folder / "terminated").exists()


@pytest.mark.usefixtures("cluster")
def test_a_pre_empted_run_ends_as_an_undisturbed_one(
    command: Command, shapes_root: Path, swept: tuple[Path, Outcome], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    arguments = ("run", "--method", "cam", "--dataset", "shapes", "--data-root", shapes_root)
    options = ("--executor", "slurm", "--container", "none", "--time", "10", *SHORT)
    with command.started(*arguments, "--work-dir", work, *options) as harness:
        at_work = until(lambda: in_the_middle(work, "cam"), "the training to be at work")
        (submitted,) = (path.name for path in work.glob("slurm/*/*_submitted.pkl"))
        with held(at_work):
            requeue(submitted.split("_")[0])
        output, _ = harness.communicate()
    assert harness.returncode == 0, output
    assert "mIoU (%) on shapes" in output
    record = record_of(work, seed=0)  # the same run goes on, not another one
    assert record.state == "done"
    weights, report = training_of(work, seed=0)
    assert report.resumed_at > 0
    assert same(weights, training_of(swept[0], seed=0)[0])
    assert record.metrics == record_of(swept[0], seed=0).metrics
