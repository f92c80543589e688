"""One run in a terminal: its state, its numbers with what they mean, and where its logs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from harness.record import RunRecord
from leaderboard.run_view import run_view
from leaderboard.runs import find_run
from tests.command import Command
from tests.record_samples import metric, record, stage


def shown(work: Path, run: RunRecord) -> str:
    folder = work / "runs" / run.run_id
    (folder / "logs").mkdir(parents=True)
    for one in run.stages:
        if one.report is not None or one.state == "failed":
            (folder / "logs" / f"{one.name}.log").touch()
    run.write(folder)
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(run_view(find_run(run.run_id, work)))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def finished(**changes: Any) -> RunRecord:
    details = {"inference": {"type": "MultiScaleCAM", "scales": [1.0, 2.0]}}
    seed = metric("seed", 0.571, "best of sweep", 0.13)
    seed = seed.model_copy(
        update={
            "interval": (0.56, 0.58),
            "precision": {"background": 0.9, "cow": None},
            "recall": {"background": 0.8, "cow": None},
            "protocol": seed.protocol.model_copy(update={"details": details}),
        }
    )
    return record(
        stage("cam", type="train", seconds=3600, memory=3 << 30),
        stage("seeds", seed, inputs={"scores": "cam"}),
        **{"run_id": "20210101-a"} | changes,
    )


def test_what_a_training_scored_on_its_way_is_a_table(tmp_path: Path) -> None:
    run = finished()
    assert run.stages[0].report is not None
    run.stages[0].report.validation = {
        "iteration": [200.0, 400.0],
        "cam": [0.25, None],
        "cam_threshold": [0.4, 0.45],
        "seg": [0.125, 0.5],
    }
    text = shown(tmp_path, run)
    assert "mIoU (%) while cam trains" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["iteration", "cam", "seg"] in rows
    assert ["200", "25.00", "at", "0.4", "12.50"] in rows
    assert ["400", "-", "50.00"] in rows


def test_numbers_come_with_their_protocol_and_classes_with_precision_and_recall(tmp_path: Path) -> None:
    text = shown(tmp_path, finished())
    for line in (
        "state     done",
        "kind      full run",
        " cam   train    done  -      1:00:00        - 3.0 GiB   - key of c",
        " seed (best) 57.10 [56.0, 58.0]      0.13 train, 1449 images, against official; inference:",
        "                                          MultiScaleCAM scales=[1.0, 2.0]; without cow",
        " background        57.1                  90.0               80.0",
        " cow                  -                     -                  -",
    ):
        assert line in text.splitlines(), text


def test_a_run_that_is_no_full_one_says_why(tmp_path: Path) -> None:
    text = shown(tmp_path, finished(limit=4, overrides=["stages.cam.train_cfg.max_epochs=1"]))
    assert "not a full run: limit 4, overrides" in text
    assert "--set stages.cam.train_cfg.max_epochs=1" in text


def test_a_failed_run_shows_its_error_and_the_log(tmp_path: Path) -> None:
    failed = stage("seeds", state="failed", error="it broke")
    failed.report = None
    waiting = stage("seg", state="waiting")
    waiting.report = None
    text = shown(tmp_path, record(failed, waiting, run_id="20210101-a", state="failed", error="seeds broke"))
    assert "error     seeds broke" in text
    assert str(tmp_path / "runs" / "20210101-a" / "logs" / "seeds.log") in text.replace("\n", "")
    assert "numbers" not in text


def test_a_run_that_never_ended_is_not_said_to_go_on(tmp_path: Path) -> None:
    assert "running (or killed" in shown(tmp_path, finished(state="running"))


def test_the_command_shows_a_run(command: Command, tmp_path: Path) -> None:
    shown(tmp_path, finished())
    outcome = command("show", "2021", "--work-dir", tmp_path)
    assert (outcome.status, outcome.errors) == (0, "")
    assert "20210101-a" in outcome.output
