"""The command line: quick to answer, and every mistake is one sentence on standard error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.shapes import generate_shapes
from tests.command import Command
from tests.record_samples import metric, record, stage

CAM = ("run", "--method", "cam", "--dataset", "shapes", "--executor", "local")
Refuse = Callable[..., str]


@pytest.fixture
def refused(command: Command, shapes_root: Path, tmp_path: Path) -> Refuse:
    """Runs `harness run` on the small dataset, expects exit status 2, and returns its one sentence."""

    def refused(*arguments: str | Path, base: tuple[str, ...] = CAM) -> str:
        given = [*base, "--work-dir", tmp_path / "work", *arguments]
        if "--data-root" not in arguments:
            given += ["--data-root", shapes_root]
        outcome = command(*given)
        assert outcome.status == 2, outcome
        assert not list((tmp_path / "work").glob("artifacts/*/manifest.json"))
        return outcome.sentence

    return refused


def test_help_imports_neither_torch_nor_docker(command: Command) -> None:
    script = (
        "import sys; sys.argv = ['harness', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "heavy = {'torch', 'docker', 'mmengine', 'mmseg', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=command.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert "leaderboard" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "nonsense"), "'nonsense' is not of the form path.to.key=value"),
        (("--set", "stages.cam.train_cfg.max_epoch=1"), "(did you mean 'max_epochs'?)"),
        (("--set", "stages.cam.model.backbone.detph=18"), "(did you mean 'depth'?)"),
        (("--set", "stages.cam.train_cfg.max_epochs=soon"), "max_epochs: Input should be a valid integer"),
        (("--variant", "nowhere"), "no config for variant 'nowhere'"),
        (("--from", "scores"), "--from scores: no such stage (did you mean 'cam_scores'?)"),
        (("--only", "cam_scores"), "needs the output of stage 'cam', which is not there: run it first"),
        (("--from", "cam", "--only", "cam"), "exclude each other"),
        (("--weights", "resnet=none"), "the config does not use 'resnet'; it uses none"),
        (("--weights", "model.pth"), "no stage of this config starts from weights"),
        (("--gpus", "99"), "this machine has"),
    ],
)
def test_a_wrong_option_is_one_sentence(refused: Refuse, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("vew", "there is no method 'vew' (did you mean 'vwe'?); the methods are cam, "),
        ("_base_", "there is no method '_base_'"),
        ("../methods/cam", "there is no method '../methods/cam'"),
    ],
)
def test_an_unknown_method_suggests_the_nearest(refused: Refuse, method: str, words: str) -> None:
    assert words in refused(base=("run", "--method", method, "--executor", "local"))


def test_an_unknown_executor_suggests_the_nearest(refused: Refuse) -> None:
    base = ("run", "--method", "cam", "--executor", "dokcer")
    assert "unknown executor 'dokcer' (did you mean 'docker'?)" in refused(base=base)


def test_docker_without_an_engine_says_so(command: Command, tmp_path: Path) -> None:
    deaf = Command({**command.env, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    outcome = deaf("run", "--method", "cam", "--executor", "docker", "--work-dir", tmp_path / "work")
    assert outcome.status == 2
    assert outcome.sentence.startswith("no Docker engine answers")
    assert "--executor local" in outcome.sentence


def test_a_dataset_without_its_folder_says_what_to_pass(command: Command, tmp_path: Path) -> None:
    voc = ("run", "--method", "vwe", "--dataset", "voc", "--executor", "local", "--work-dir", tmp_path)
    outcome = command(*voc)
    assert (outcome.status, "--data-root" in outcome.sentence) == (2, True)
    outcome = command(*voc, "--data-root", tmp_path / "nowhere")
    assert outcome.status == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in outcome.sentence


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("JPEGImages/train_000003.png", Path.unlink, "there is no image"),
        ("JPEGImages/train_000003.png", cut, "is truncated"),
        ("Annotations/train_000003.xml", Path.unlink, "there is no annotation"),
        ("SegmentationClass/train_000001.png", Path.unlink, "there is no mask"),
        ("shapes.json", Path.unlink, "no complete shapes dataset"),
    ],
)
def test_a_broken_dataset_names_the_file_before_anything_runs(
    refused: Refuse, tmp_path: Path, file: str, damage: Callable[[Path], None], words: str
) -> None:
    root = tmp_path / "broken"
    generate_shapes(root, train=2, train_aug=4, val=1, workers=1)
    damage(root / file)
    sentence = refused("--data-root", root)
    assert words in sentence
    assert Path(file).name in sentence


def test_a_file_in_the_place_of_the_work_folder_is_one_sentence(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "work").write_text("")
    outcome = command(*CAM, "--data-root", shapes_root, "--work-dir", tmp_path / "work")
    assert outcome.status == 2
    assert "cannot be a folder, because" in outcome.sentence


def test_dry_run_shows_the_plan_and_writes_nothing(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    outcome = command(*CAM, "--data-root", shapes_root, "--work-dir", tmp_path / "work", "--dry-run")
    assert outcome.status == 0
    assert outcome.errors == ""
    assert [line.split()[1] for line in outcome.output.splitlines() if "to do" in line] == [
        "cam",
        "cam_scores",
        "seeds",
    ]
    assert not (tmp_path / "work").exists()


def test_methods_lists_every_config(command: Command) -> None:
    outcome = command("methods")
    assert outcome.status == 0
    assert "voc_vwl_learned" in outcome.output


def test_the_leaderboard_is_markdown_on_standard_output_or_in_a_file(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    record(stage("seg_eval", metric("seg", 0.7))).write(folder)
    printed = command("leaderboard", "--work-dir", tmp_path)
    lines = printed.output.splitlines()
    assert lines[0] == "## voc"
    assert any(line.startswith("| 1 | vwe |") and "**70.0**" in line for line in lines)
    written = command("leaderboard", "--work-dir", tmp_path, "--output", tmp_path / "board.md")
    assert written.status == 0
    assert (tmp_path / "board.md").read_text() == printed.output
    nowhere = command("leaderboard", "--work-dir", tmp_path, "--output", tmp_path / "no" / "board.md")
    assert nowhere.status == 2
    assert f"there is no folder {tmp_path / 'no'}" in nowhere.sentence


def test_an_option_that_does_not_exist_is_refused_with_the_usage(command: Command) -> None:
    outcome = command("run", "--methd", "cam")
    assert outcome.status == 2
    assert "--methd" in outcome.errors
    assert "Traceback" not in outcome.errors
