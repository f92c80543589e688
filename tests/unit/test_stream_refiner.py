"""Refining images by a network that runs in the stage: what it predicts is never written, only the masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.artifact import Artifact
from harness.data import open_dataset
from harness.data.palette import read_mask
from harness.errors import InputError
from harness.ops.segmentation_refiner import MultiScaleSegmentation
from harness.registry import REFINERS
from harness.stages import refine
from tests.tiny_stages import CAMS, LIMIT, TRAIN, TinyNet, run, weights_of

STREAM: dict[str, Any] = {
    "type": "refine",
    "split": "train",
    "checkpoint": "seg",
    "refiner": {"type": "MultiScaleSegmentation", "scales": [1.0, 0.5], "flip": True},
}


@REFINERS.register_module(force=True)
class Beside:
    """A refiner that needs scores and a network."""

    kind = "model"

    def __call__(
        self, image: Any, scores: Mapping[str, Any], model: nn.Module, device: torch.device
    ) -> np.ndarray:
        return np.zeros(image.shape[:2], np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    """A folder with a segmentation network, a CAM network and its scores."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder / "cam", shapes_root, TRAIN)
    run(folder / "cam_scores", shapes_root, CAMS, inputs={"checkpoint": folder / "cam"})
    config = {**TRAIN, "model": {"type": "TinyNet", "num_classes": 11}, "labels": "mask"}
    run(folder / "seg", shapes_root, config)
    return folder


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in Artifact(folder).files.glob("*.png")}


@pytest.mark.parametrize("crf", [None, {"iterations": 2}])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_masks_are_those_made_by_hand(
    tmp_path: Path, shapes_root: Path, trained: Path, crf: dict[str, Any] | None, workers: int
) -> None:
    config = {**STREAM, "refiner": {**STREAM["refiner"], "crf": crf}}
    run(tmp_path / "seg_crf", shapes_root, config, inputs={"checkpoint": trained / "seg"}, workers=workers)
    network = TinyNet(11).eval()
    network.load_state_dict(weights_of(trained / "seg"))
    refiner = MultiScaleSegmentation((1.0, 0.5), flip=True, crf=crf)
    dataset = open_dataset("shapes", shapes_root)
    found = masks_of(tmp_path / "seg_crf")
    assert sorted(found) == sorted(dataset.ids("train")[:LIMIT])
    for image_id, mask in found.items():
        image = dataset.read_image(image_id)
        with torch.inference_mode():
            expected = refiner(image, refiner.predict(image, network, "cpu"))
        np.testing.assert_array_equal(mask, expected)


def test_a_killed_stage_predicts_only_what_is_left(
    tmp_path: Path, shapes_root: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, inputs = tmp_path / "seg_crf", {"checkpoint": trained / "seg"}
    original, done = refine.write_mask, []

    def dying(*arguments: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        original(*arguments)

    monkeypatch.setattr(refine, "write_mask", dying)
    with pytest.raises(KeyboardInterrupt):
        run(folder, shapes_root, STREAM, inputs=inputs)
    monkeypatch.undo()
    predicted = []
    predict = MultiScaleSegmentation.predict

    def counted(self: Any, *arguments: Any) -> Any:
        predicted.append(arguments)
        return predict(self, *arguments)

    monkeypatch.setattr(MultiScaleSegmentation, "predict", counted)
    report = run(folder, shapes_root, STREAM, inputs=inputs)
    assert (report.resumed_at, report.images, len(predicted)) == (2, LIMIT - 2, LIMIT - 2)
    run(tmp_path / "whole", shapes_root, STREAM, inputs=inputs)
    assert Artifact(folder).manifest.files == Artifact(tmp_path / "whole").manifest.files


THRESHOLD = {"type": "CAMThreshold", "background": 0.2}


@pytest.mark.parametrize(
    ("refiner", "given", "message"),
    [
        (
            STREAM["refiner"],
            {"scores": "cam_scores", "checkpoint": "seg"},
            "has no use for 'scores': remove it",
        ),
        (STREAM["refiner"], {"scores": "cam_scores"}, "has no use for 'scores': remove it"),
        (
            THRESHOLD,
            {"checkpoint": "seg"},
            "needs 'scores': name the stage",
        ),
        (
            THRESHOLD,
            {"scores": "cam_scores", "checkpoint": "seg"},
            "has no use for 'checkpoint': remove it",
        ),
        ({"type": "Beside"}, {"scores": "cam_scores"}, "needs 'checkpoint': name the stage"),
        ({"type": "Beside"}, {"checkpoint": "seg"}, "needs 'scores': name the stage"),
    ],
)
def test_inputs_that_the_refiner_lacks_or_would_not_use_are_one_sentence(
    tmp_path: Path,
    shapes_root: Path,
    trained: Path,
    refiner: dict[str, Any],
    given: dict[str, str],
    message: str,
) -> None:
    config = {"type": "refine", "split": "train", "refiner": refiner, **given}
    inputs = {role: trained / name for role, name in given.items()}
    with pytest.raises(InputError, match=rf"the refiner {refiner['type']} {message}"):
        run(tmp_path / "bad", shapes_root, config, inputs=inputs)
