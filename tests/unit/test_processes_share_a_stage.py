"""Stages that processes share: what one process makes, two make together (here by gloo on the CPU)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.artifact import Artifact
from harness.data.stream import PositionSampler
from harness.errors import InputError
from harness.files import write_json
from harness.report import Report, read_report
from harness.schema import TrainConfig
from harness.stage import run_stage
from harness.stages import train_hooks
from harness.stages.per_image import load_scores
from harness.stages.train import Schedule
from tests import tiny_stages
from tests.tiny_stages import CAMS, TRAIN, request, same, weights_of

# Without dropout and batch statistics two processes do what one does, but for the order of sums.
PLAIN = {**TRAIN, "model": {"type": "TinyNet", "plain": True}}
SCORED = {
    **PLAIN,
    "validation": {
        "split": "train",
        "interval": 3,
        "outputs": {"cam": {"inference": {"type": "MultiScaleCAM", "scales": [1.0]}, "threshold": 0.3}},
        "best": "cam",
    },
}


def made(folder: Path, root: Path, config: dict[str, Any], **changes: Any) -> Report:
    """Run a stage; this process leads, its helpers are processes of their own."""
    folder.mkdir(exist_ok=True)
    wanted = request(root, config, folder.name, custom_imports=["tests.tiny_stages"], workers=2, **changes)
    write_json(folder / "stage.json", wanted.model_dump(mode="json"))
    return run_stage(wanted, folder)


def close(one: Path, other: Path) -> bool:
    first, second = weights_of(one), weights_of(other)
    return list(first) == list(second) and all(
        torch.allclose(first[name], second[name], rtol=1e-4, atol=1e-6) for name in first
    )


def test_parts_of_the_processes_are_the_batches_of_one() -> None:
    whole = list(PositionSampler(8, 24))
    parts = [list(PositionSampler(8, 24, 4, (rank, 2))) for rank in range(2)]
    assert [len(PositionSampler(8, 24, 4, (rank, 2))) for rank in range(2)] == [8, 8]
    batches = [
        [position for part in parts for position in part[2 * batch : 2 * batch + 2]] for batch in range(4)
    ]
    assert [position for batch in batches for position in batch] == whole


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    """A folder with the same training by one process and by two."""
    folder = tmp_path_factory.mktemp("trained")
    made(folder / "one", shapes_root, SCORED)
    made(folder / "two", shapes_root, SCORED, processes=2)
    return folder


def test_two_processes_train_as_one(trained: Path) -> None:
    assert close(trained / "one", trained / "two")
    one, two = (read_report(trained / name) for name in ("one", "two"))
    assert (one.images, two.images) == (12, 12)
    assert one.losses is not None
    assert two.losses is not None
    assert two.losses["iteration"] == one.losses["iteration"]
    assert two.losses["loss"] == pytest.approx(one.losses["loss"], rel=1e-4)


def test_a_validation_is_shared_and_finds_the_same(trained: Path) -> None:
    one, two = (read_report(trained / name) for name in ("one", "two"))
    assert one.validation is not None
    assert two.validation is not None
    assert two.validation["iteration"] == one.validation["iteration"] == [3.0, 6.0]
    assert two.validation["cam"] == pytest.approx(one.validation["cam"], abs=1e-3)
    best = [Artifact(trained / name).manifest.meta["best_iteration"] for name in ("one", "two")]
    assert best[0] == best[1]


def test_a_training_of_two_processes_goes_on_where_it_was_killed(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With dropout: each process goes on with its own random numbers.
    made(tmp_path / "whole", shapes_root, TRAIN, processes=2)
    original = train_hooks.ResumePoints.after_train_iter

    def then_die(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
        original(self, runner, *arguments, **named)
        if runner.iter + 1 == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_hooks.ResumePoints, "after_train_iter", then_die)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "killed", shapes_root, TRAIN, processes=2)
    monkeypatch.undo()
    assert not Artifact(tmp_path / "killed").complete
    assert made(tmp_path / "killed", shapes_root, TRAIN, processes=2).resumed_at == 4
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))


def test_a_helper_that_crashes_ends_the_stage_with_its_number(tmp_path: Path, shapes_root: Path) -> None:
    config = {**PLAIN, "model": {"type": "TinyNet", "helper_dies": True}}
    with pytest.raises(RuntimeError, match="process 2 of the 2 that share the stage ended with status 3"):
        made(tmp_path / "cam", shapes_root, config, processes=2)
    assert not Artifact(tmp_path / "cam").complete


def test_a_loss_that_is_no_number_in_one_process_stops_all_at_its_iteration(
    tmp_path: Path, shapes_root: Path
) -> None:
    config = {**PLAIN, "model": {"type": "TinyNet", "nan_at": 4, "nan_in": 1}}
    with pytest.raises(FloatingPointError, match="the loss is nan at iteration 4"):
        made(tmp_path / "cam", shapes_root, config, processes=2)
    assert [path.name for path in (tmp_path / "cam" / "state").glob("iter_*.pth")] == ["iter_2.pth"]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    config = TrainConfig(max_iters=1)
    assert Schedule.of(config, 10, 4, smoke=False, processes=2).batch_size == 4
    with pytest.raises(InputError, match="a batch of 5 cannot be shared evenly by 2 processes"):
        Schedule.of(config, 10, 5, smoke=False, processes=2)
    assert Schedule.of(config, 10, 5, smoke=True, processes=2).batch_size == 4  # two for each


def test_two_processes_share_the_images_of_a_network(trained: Path, shapes_root: Path) -> None:
    inputs = {"checkpoint": trained / "one"}
    made(trained / "cams one", shapes_root, CAMS, inputs=inputs)
    report = made(trained / "cams two", shapes_root, CAMS, inputs=inputs, processes=2)
    assert report.images == tiny_stages.LIMIT
    names = [
        sorted(path.name for path in Artifact(trained / n).files.iterdir()) for n in ("cams one", "cams two")
    ]
    assert names[0] == names[1]
    for name in names[0]:
        one, two = (load_scores(Artifact(trained / n).files / name) for n in ("cams one", "cams two"))
        for array in one:
            assert np.allclose(one[array], two[array], atol=1e-5)


def test_a_wrong_image_in_a_helpers_part_is_one_sentence(
    tmp_path: Path, trained: Path, shapes_root: Path
) -> None:
    dataset = request(shapes_root, CAMS, "cams").dataset
    ids = {"train": [*dataset.ids["train"][:1], "nowhere"]}
    changes = {"inputs": {"checkpoint": trained / "one"}, "dataset": dataset.model_copy(update={"ids": ids})}
    with pytest.raises(InputError, match="nowhere"):
        made(tmp_path / "cams", shapes_root, CAMS, processes=2, **changes)
