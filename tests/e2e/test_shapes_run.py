"""Whole runs on a small generated dataset: reuse, resumption after SIGKILL, damage, company, full disks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from harness.data.shapes import generate_shapes
from tests.command import Command
from tests.e2e.work_folder import (
    artifact,
    held,
    in_the_middle,
    kill_in_the_middle,
    last_record,
    metrics,
    states,
)
from tests.waiting import until

pytestmark = pytest.mark.slow

SHORT = (  # each stage takes a few seconds, so that it can be killed in the middle
    *("--limit", "12"),
    *("--set", "stages.cam.train_cfg.max_epochs=none", "--set", "stages.cam.train_cfg.max_iters=30"),
    *("--set", "stages.cam.train_cfg.checkpoint_interval=3"),
    *("--set", "stages.cam.train_dataloader.batch_size=4"),
)
SHORT_AFTER_CAM = (
    *("--set", "stages.irn.train_cfg.max_iters=2", "--set", "stages.seg.train_cfg.max_iters=2"),
)
AFTER_PSEUDO = {"pseudo", "pseudo_eval", "seg", "seg_scores", "seg_eval", "seg_crf", "seg_crf_eval"}


def run(method: str, root: Path, work: Path, *options: str) -> list[str | Path]:
    """Arguments of `harness run`."""
    given: list[str | Path] = ["run", "--method", method, "--dataset", "shapes", "--executor", "local"]
    return [*given, "--data-root", root, "--work-dir", work, *options]


@pytest.fixture(scope="module")
def smoke(command: Command, shapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a finished `--smoke` run of VWE, in a folder with a space in its name."""
    work = tmp_path_factory.mktemp("e2e") / "a work folder"
    outcome = command(*run("vwe", shapes_root, work, "--smoke"))
    assert outcome.status == 0, outcome
    assert outcome.errors == ""
    table = outcome.output[outcome.output.index("mIoU (%) on shapes") :]
    assert all(header in table for header in ("seed (best)", "pseudo", "seg", "seg+CRF"))
    assert "smoke" in table
    return work


@pytest.fixture(scope="module")
def cam(command: Command, shapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a finished short run of the CAM baseline."""
    work = tmp_path_factory.mktemp("cam") / "work"
    outcome = command(*run("cam", shapes_root, work, *SHORT))
    assert outcome.status == 0, outcome
    return work


@pytest.fixture
def copy(tmp_path: Path, smoke: Path) -> Path:
    """The work folder of the finished smoke run, to be changed."""
    return Path(shutil.copytree(smoke, tmp_path / "a copy"))


def test_the_record_of_a_run_has_every_number(smoke: Path) -> None:
    record = last_record(smoke)
    assert (record.state, record.smoke, record.marks) == ("done", True, ["smoke", "custom data"])
    assert {metric.number for metric in record.metrics} == {"seed", "pseudo", "seg", "seg_crf"}
    assert all(stage.report and stage.report.seconds > 0 for stage in record.stages)
    assert all(metric.protocol.images == 8 for metric in record.metrics)


def test_the_same_run_again_reuses_all_of_it(command: Command, shapes_root: Path, copy: Path) -> None:
    before = metrics(copy)
    outcome = command(*run("vwe", shapes_root, copy, "--smoke"))
    assert outcome.status == 0, outcome
    assert set(states(copy).values()) == {"reused"}
    assert metrics(copy) == before
    board = json.loads(command("leaderboard", "--work-dir", copy, "--format", "json").output)
    (shapes,) = (part for part in board["datasets"] if part["dataset"] == "shapes")
    (entry,) = shapes["unranked"]
    assert len(entry["runs"]) == 1  # the same work counts once


def test_dry_run_shows_what_is_there(command: Command, shapes_root: Path, copy: Path) -> None:
    outcome = command(*run("vwe", shapes_root, copy, "--smoke", "--dry-run", "--from", "pseudo"))
    rows = [line for line in outcome.output.splitlines() if line.startswith("│")]
    assert {row.split()[1] for row in rows if "to do (again)" in row} == AFTER_PSEUDO
    assert sum("there" in row for row in rows) == len(states(copy)) - len(AFTER_PSEUDO)
    other = command(*run("vwe", shapes_root, copy, "--smoke", "--dry-run", "--seed", "1"))
    assert other.output.count("to do") == len(states(copy))


def test_from_does_a_stage_and_all_that_depends_on_it_again(
    command: Command, shapes_root: Path, copy: Path
) -> None:
    before = metrics(copy)
    assert command(*run("vwe", shapes_root, copy, "--smoke", "--from", "pseudo")).status == 0
    assert {name for name, state in states(copy).items() if state == "done"} == AFTER_PSEUDO
    assert metrics(copy) == before


def test_only_does_one_stage(command: Command, shapes_root: Path, copy: Path) -> None:
    assert command(*run("vwe", shapes_root, copy, "--smoke", "--only", "seeds", "--force")).status == 0
    assert {name: s for name, s in states(copy).items() if s != "waiting"} == {"seeds": "done"}


def test_a_flipped_bit_is_noticed_and_its_stage_done_again(
    command: Command, shapes_root: Path, copy: Path
) -> None:
    before = metrics(copy)
    found = artifact(copy, "seg_crf")
    assert found is not None
    victim = sorted(found.files.glob("*.png"))[0]
    content = bytearray(victim.read_bytes())
    content[-20] ^= 1
    victim.write_bytes(content)
    outcome = command(*run("vwe", shapes_root, copy, "--smoke"))
    assert outcome.status == 0, outcome
    assert f"warning: {victim} is not what was written" in outcome.output
    assert {name for name, state in states(copy).items() if state == "done"} == {"seg_crf"}
    assert metrics(copy) == before


def test_a_lost_report_has_its_stage_done_again(command: Command, shapes_root: Path, copy: Path) -> None:
    found = artifact(copy, "seeds")
    assert found is not None
    (found.folder / "report.json").unlink()
    outcome = command(*run("vwe", shapes_root, copy, "--smoke"))
    assert outcome.status == 0, outcome
    assert {name for name, state in states(copy).items() if state == "done"} == {"seeds"}


def test_a_run_killed_in_train_infer_and_refine_ends_as_an_undisturbed_one(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    options = (*SHORT, *SHORT_AFTER_CAM)
    kept: dict[str, dict[str, int]] = {}
    for stage in ("cam", "cam_scores", "ir_label", "pseudo"):
        start = partial(command.started, *run("vwe", shapes_root, killed, *options))
        at_work = kill_in_the_middle(start, killed, stage)
        images = (path for path in at_work.files.iterdir() if path.suffix in (".npz", ".png"))
        kept[stage] = {path.name: path.stat().st_mtime_ns for path in images}
    for work in (killed, undisturbed):
        outcome = command(*run("vwe", shapes_root, work, *options))
        assert outcome.status == 0, outcome
    assert metrics(killed) == metrics(undisturbed)
    reports = {stage.name: stage.report for stage in last_record(killed).stages}
    for stage, files in kept.items():
        found, report = artifact(killed, stage), reports[stage]
        assert found is not None
        assert report is not None
        assert report.resumed_at >= max(len(files), 1)
        assert {name: (found.files / name).stat().st_mtime_ns for name in files} == files
        whole = artifact(undisturbed, stage)
        assert whole is not None
        same = {n for n in whole.manifest.files if "tensorboard" not in n}
        assert {n: found.manifest.files[n] for n in same} == {n: whole.manifest.files[n] for n in same}


def test_a_second_harness_on_the_same_work_says_so(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with command.started(*run("cam", shapes_root, work, *SHORT)) as first:
        at_work = until(lambda: in_the_middle(work, "cam"), "the training")
        with held(at_work):
            second = command(*run("cam", shapes_root, work, *SHORT))
        output, _ = first.communicate()
    assert second.status == 2
    assert "another harness is working on" in second.sentence
    assert first.returncode == 0, output


def test_an_interrupted_run_says_how_to_go_on(command: Command, shapes_root: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with command.started(*run("cam", shapes_root, work, *SHORT)) as harness:
        until(lambda: in_the_middle(work, "cam"), "the training")
        os.killpg(harness.pid, 2)
        output, _ = harness.communicate()
    assert harness.returncode == 130
    assert "error: interrupted; the same command resumes where it stopped" in output
    assert "Traceback" not in output
    assert last_record(work).state == "interrupted"
    assert states(work) == {"cam": "failed", "cam_scores": "waiting", "seeds": "waiting"}


def test_a_missing_image_costs_nothing_that_is_finished(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    root, work = tmp_path / "data", tmp_path / "work"
    generate_shapes(root, train=12, train_aug=12, val=1, workers=1)
    assert command(*run("cam", root, work, *SHORT)).status == 0
    image = root / "JPEGImages" / "train_000003.png"
    image.rename(tmp_path / "away.png")
    outcome = command(*run("cam", root, work, *SHORT))
    assert outcome.status == 2
    assert f"there is no image {image}" in outcome.sentence
    (tmp_path / "away.png").rename(image)
    assert command(*run("cam", root, work, *SHORT)).status == 0
    assert set(states(work).values()) == {"reused"}


def test_a_stage_that_takes_too_long_is_stopped_and_can_go_on(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    endless = run("cam", shapes_root, work, *SHORT, "--set", "stages.cam.train_cfg.max_iters=100000")
    for limit in (10, 20, 40, 80, 160, 320):  # where starting takes longer than training is allowed to
        outcome = command(*endless, "--timeout", str(limit))
        assert outcome.status == 1
        assert f"stage 'cam' was stopped after the time limit of {limit} s" in outcome.sentence
        assert last_record(work).state == "timeout"
        found = artifact(work, "cam")
        assert found is not None
        if list(found.state.glob("iter_*.pth")):
            return
    pytest.fail("no point of resumption was written")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 MB, big enough for a short run of the CAM baseline."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a file system can be mounted by root only: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("stage", ["cam", "cam_scores"])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_space(
    command: Command, shapes_root: Path, cam: Path, small_disk: Path, stage: str
) -> None:
    work, filler = small_disk / "work", small_disk / "filler"
    if stage == "cam_scores":
        outcome = command(*run("cam", shapes_root, work, *SHORT, "--only", "cam"))
        assert outcome.status == 0, outcome
    with filler.open("wb") as file:
        file.truncate(0)
        file.write(bytes(shutil.disk_usage(small_disk).free - (1 << 20)))  # space to begin with
    outcome = command(*run("cam", shapes_root, work, *SHORT))
    assert outcome.status == 2, outcome
    assert "full" in outcome.sentence
    assert "free some space" in outcome.sentence
    filler.unlink()
    outcome = command(*run("cam", shapes_root, work, *SHORT))
    assert outcome.status == 0, outcome
    assert states(work)["cam"] == ("reused" if stage == "cam_scores" else "done")
    assert metrics(work) == metrics(cam)
