"""Sweeps over methods, datasets and seeds: what is run, when, and what becomes of failures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.artifact import Artifact
from harness.errors import InputError
from harness.executors import slurm
from harness.gpus import held_gpus
from harness.run import locked
from harness.sweep import Combination, Sweep, SweepRun, combine, plan_runs
from harness.sweep_local import LocalLauncher, part_of_cores
from harness.sweep_view import RunView, SweepView
from tests.command import Command
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]


def probe(work: Path, name: str, what: str = "ends") -> SweepRun:
    """A run that does what it is told instead of training."""
    folder = work / "runs" / name
    folder.mkdir(parents=True)
    combination = Combination(name, "shapes", None, 0)
    return SweepRun(combination, name, folder, (str(folder), what), "tests.unit.probe_run")


def execute(runs: list[SweepRun], jobs: int) -> tuple[list[RunView], str]:
    """Execute runs on this machine; returns how each ended and what was printed."""
    output = io.StringIO()
    view = SweepView(Console(file=output, width=200))
    return Sweep(runs, LocalLauncher(runs, jobs), view).execute(), output.getvalue()


@pytest.fixture(autouse=True)
def probes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_every_combination_is_run_seed_by_seed() -> None:
    found = [(c.method, c.dataset, c.seed) for c in combine(["cam", "vwe"], ["voc", "shapes"], [0, 1])]
    first = [("cam", "voc", 0), ("vwe", "voc", 0), ("cam", "shapes", 0), ("vwe", "shapes", 0)]
    assert found[:4] == first
    assert found[4:] == [(method, dataset, 1) for method, dataset, _ in first]
    assert len(combine(["cam", "cam"], ["shapes"], [3, 3])) == 1


def test_combinations_without_a_config_are_told_before_anything_starts() -> None:
    with pytest.raises(InputError, match="there is no config for cam on nowhere, vwe on nowhere: leave"):
        combine(["cam", "vwe"], ["shapes", "nowhere"], [0])
    with pytest.raises(InputError, match="did you mean 'cam'"):
        combine(["kam"], ["shapes"], [0])
    with pytest.raises(InputError, match="--seeds is empty"):
        combine(["cam"], ["shapes"], [])


def test_a_run_gets_what_is_its_own_and_what_all_have(tmp_path: Path) -> None:
    runs = plan_runs(
        combine(["cam"], ["voc", "shapes"], [2]), tmp_path, ["--smoke"], {"voc": tmp_path / "voc"}
    )
    voc, shapes = (list(run.arguments) for run in runs)
    assert voc[:5] == ["run", "--method", "cam", "--dataset", "voc"]
    assert voc[voc.index("--data-root") + 1] == str(tmp_path / "voc")
    assert "--data-root" not in shapes
    for run, arguments in zip(runs, (voc, shapes), strict=True):
        assert arguments[arguments.index("--seed") + 1] == "2"
        assert arguments[arguments.index("--run-id") + 1] == run.run_id == run.folder.name
        assert "--wait" in arguments
        assert arguments[-1] == "--smoke"


def test_a_run_that_fails_does_not_concern_the_others(tmp_path: Path) -> None:
    views, printed = execute([probe(tmp_path, "one", "fails"), probe(tmp_path, "two")], jobs=1)
    assert [(view.name, view.state) for view in views] == [
        ("one shapes seed 0", "wrong input"),
        ("two shapes seed 0", "done"),
    ]
    assert views[0].note == "it is asked for"
    assert "one shapes seed 0: wrong input, it is asked for after" in printed
    assert "1 of 2 runs done" in printed


def test_runs_are_executed_at_the_same_time_if_there_is_room(tmp_path: Path) -> None:
    runs = [probe(tmp_path, "one", "meets"), probe(tmp_path, "two", "meets")]
    assert [view.state for view in execute(runs, jobs=2)[0]] == ["done", "done"]


def test_runs_wait_for_room(tmp_path: Path) -> None:
    runs = [probe(tmp_path, "one", "waits"), probe(tmp_path, "two")]
    launcher = LocalLauncher(runs, jobs=1)
    launcher.advance()
    until(lambda: (runs[0].folder / "attempt_0").exists())
    launcher.advance()
    assert (launcher.word(runs[0]), launcher.word(runs[1])) == ("", "for other runs")
    until(lambda: "attempt 0" in runs[0].log.read_text())
    launcher.stop()
    assert (runs[0].folder / "terminated").exists()
    assert launcher.status(runs[0]) == 130
    assert not (runs[1].folder / "attempt_0").exists()


def test_no_run_outlives_a_killed_sweep(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from harness.sweep_local import LocalLauncher
        from tests.unit.test_many_runs import probe
        launcher = LocalLauncher([probe(Path({str(tmp_path)!r}), "one", "waits")], 1)
        launcher.advance()
        time.sleep(9999)
    """)
    noted = tmp_path / "runs" / "one" / "attempt_0"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as sweep:
        until(lambda: noted.exists() and noted.read_text().endswith("\n"))
        sweep.kill()
    until(lambda: not psutil.pid_exists(int(noted.read_text())))


def test_runs_at_the_same_time_share_the_cores() -> None:
    assert [part_of_cores(range(5), slot, 2) for slot in range(2)] == [range(2), range(2, 5)]
    assert part_of_cores([3], 1, 2) == [3]


def test_the_time_to_go_is_that_of_the_runs_that_are_done(tmp_path: Path) -> None:
    runs = [probe(tmp_path, name) for name in "abcd"]
    sweep = Sweep(runs, LocalLauncher(runs, 2), SweepView(Console(file=io.StringIO())))
    waiting = [RunView(name, "waiting") for name in "bcd"]
    assert sweep._eta([RunView("a", "running", "", 5.0), *waiting]) is None
    assert sweep._eta([RunView("a", "done", "", 10.0), *waiting]) == 15.0  # three of 10 s, two at a time


def test_a_gpu_is_for_one_at_a_time(tmp_path: Path) -> None:
    waited: list[str] = []

    def note() -> None:
        waited.append("second")
        release.set()

    release, done = threading.Event(), threading.Event()
    with held_gpus(["a", "b", "c"], 2, pytest.fail, tmp_path) as first:
        assert first == ("a", "b")
        with held_gpus(["a", "b", "c"], 1, pytest.fail, tmp_path) as other:
            assert other == ("c",)

        def second() -> None:
            with held_gpus(["a", "b", "c"], 2, note, tmp_path) as gpus:
                waited.append("+".join(gpus))
            done.set()

        threading.Thread(target=second).start()
        assert release.wait(PATIENCE)
        # While it waits for two it holds none.
        with held_gpus(["c"], 1, lambda: None, tmp_path):
            pass
    assert done.wait(PATIENCE)
    assert waited == ["second", "a+b"]


def test_no_gpu_is_held_where_none_is_wanted(tmp_path: Path) -> None:
    with held_gpus([], 0, pytest.fail, tmp_path / "locks") as gpus:
        assert gpus == ()
    assert not (tmp_path / "locks").exists()


def test_a_run_of_a_sweep_waits_for_the_stage_that_another_one_makes(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path / "artifacts" / "key")
    entered, waits = threading.Event(), threading.Event()

    def second() -> None:
        with locked(artifact, waits.set):
            entered.set()

    with locked(artifact):
        with pytest.raises(InputError, match="add --wait to wait for it"), locked(artifact):
            pass
        threading.Thread(target=second).start()
        assert waits.wait(PATIENCE)
        assert not entered.is_set()
    assert entered.wait(PATIENCE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--methods", "cam", "--seeds", "0,x"), "--seeds 0,x: 'x' is no seed"),
        (("--methods", "cam", "--data", "voc=here"), "the sweep has no dataset 'voc'"),
        (("--methods", "cam", "--partition", "gpu"), "--partition is for --executor slurm"),
        (("--methods", "cam", "--gpus-per-run", "99"), "this machine has"),
    ],
)
def test_wrong_options_of_a_sweep_are_one_sentence(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    outcome = command("sweep", "--work-dir", tmp_path / "work", *arguments)
    assert outcome.status == 2
    assert sentence in outcome.sentence
    assert not (tmp_path / "work" / "runs").exists()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("30:00", 30),
        ("1:30:00", 90),
        ("0:00:01", 1),
        ("2-0", 2880),
        ("1-06:30", 1830),
        ("1-0:0:0", 1440),
    ],
)
def test_times_are_read_as_the_cluster_reads_them(text: str, minutes: int) -> None:
    assert slurm.parse_time(text) == minutes


def test_options_of_the_cluster() -> None:
    chosen = slurm.SlurmOptions(
        partition="gpu",
        constraint="h200",
        gpus=2,
        container="apptainer",
        sbatch=slurm.parse_sbatch(["account=vision"]),
    )
    assert chosen.inner_executor == "apptainer"
    expected = {"partition": "gpu", "constraint": "h200", "gpus-per-node": 2, "account": "vision"}
    assert expected.items() <= chosen.parameters().items()
    assert slurm.SlurmOptions().inner_executor == "local"
    for wrong, sentence in (
        (lambda: slurm.parse_sbatch(["array=3"]), "sets array itself"),
        (lambda: slurm.parse_sbatch(["account"]), "not of the form KEY=VALUE"),
        (lambda: slurm.parse_time("soon"), "--time soon is no time"),
        (lambda: slurm.SlurmOptions(container="dokcer").inner_executor, "did you mean 'docker'"),
    ):
        with pytest.raises(InputError, match=sentence):
            wrong()


def test_without_a_cluster_nothing_is_submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no sbatch here"):
        slurm.require_cluster()
    assert os.environ["PATH"] == str(tmp_path)
