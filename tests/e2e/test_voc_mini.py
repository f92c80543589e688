"""Real photographs in VOC's layout: the unabridged networks in processes and in containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import images
from harness.engine import connect
from harness.errors import InputError
from harness.record import RunRecord
from tests.command import Command
from tests.e2e.work_folder import last_record

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[3] / "shared"))
VOC_MINI = SHARED / "data" / "voc-mini" / "VOCdevkit"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not VOC_MINI.is_dir(), reason="no voc-mini beside the checkout (HARNESS_SHARED)"),
]


def run_cam(command: Command, work: Path, executor: str) -> RunRecord:
    """CAM on three photographs, from random weights."""
    arguments = ["run", "--method", "cam", "--dataset", "voc", "--data-root", VOC_MINI, "--weights", "none"]
    done = command(*arguments, "--executor", executor, "--smoke", "--limit", "3", "--work-dir", work)
    assert done.status == 0, done.errors + done.output
    return last_record(work)


@pytest.fixture(scope="module")
def local(command: Command, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return run_cam(command, tmp_path_factory.mktemp("in processes"), "local")


def test_real_photographs_go_through_the_unabridged_config(local: RunRecord) -> None:
    assert [stage.state for stage in local.stages] == ["done", "done", "done"]
    assert local.dataset.images == {"train_aug": 3, "train": 3}
    assert set(local.marks) == {"smoke", "random weights", "custom data"}
    assert "train_aug" in local.dataset.notices[0]
    best, fixed = local.metrics
    assert fixed.threshold == 0.15
    assert best.value >= fixed.value > 0
    assert best.protocol.ground_truth == "SegmentationClass"
    assert best.excluded  # three photographs do not show all classes, and the absent ones are named
    assert all(best.per_class[name] is None for name in best.excluded)


@pytest.mark.docker
def test_a_container_gives_the_numbers_of_a_process(
    command: Command, local: RunRecord, tmp_path: Path
) -> None:
    try:
        state = images.verify("base", client=connect())
    except InputError as error:
        pytest.skip(str(error))
    if state is not images.ImageState.CURRENT:
        pytest.skip("no current base image, which takes minutes to build: harness image build base")
    contained = run_cam(command, tmp_path, "docker")
    assert contained.environment.image_id
    for ours, theirs in zip(contained.metrics, local.metrics, strict=True):
        assert ours.value == pytest.approx(theirs.value, abs=1e-3)
