"""Validation while training: what it counts, that it changes nothing, and the best state after a kill."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from harness.artifact import Artifact
from harness.errors import InputError
from harness.registry import INFERENCES
from harness.schema import STAGE, Validation
from harness.stages import train_hooks, validation
from harness.stages.validation import ValidationHook
from tests.tiny_stages import CAMS, LOGITS, TRAIN, run, same, weights_of

SWEEP = {"start": 0.0, "stop": 0.6, "step": 0.2}
CAM = {"inference": CAMS["inference"], "sweep": SWEEP}


def validated(train: dict[str, Any] = TRAIN, **changes: Any) -> dict[str, Any]:
    """The tiny training with a validation after every second iteration."""
    settings = {"split": "train", "interval": 2, "outputs": {"cam": CAM}, **changes}
    return copy.deepcopy({**train, "validation": settings})


@INFERENCES.register_module()
class TwoCAMs:
    """The CAM and its mirror image, in one pass."""

    kind = "cam"
    needs_labels = True
    passes = 0

    def __init__(self) -> None:
        self.plain = INFERENCES.build(CAMS["inference"])

    def prepare(self, image: Any, labels: Any) -> Any:
        return self.plain.prepare(image, labels)

    def infer(self, model: torch.nn.Module, prepared: Any, device: torch.device) -> Any:
        return self.plain.infer(model, prepared, device)

    def maps(self, model: torch.nn.Module, prepared: Any, device: torch.device) -> Any:
        TwoCAMs.passes += 1
        scores = self.infer(model, prepared, device)
        return {"plain": scores, "mirrored": {**scores, "high_res": scores["high_res"][..., ::-1]}}


def test_the_last_validation_is_what_infer_and_evaluate_find(tmp_path: Path, shapes_root: Path) -> None:
    report = run(tmp_path / "cam", shapes_root, validated())
    run(tmp_path / "scores", shapes_root, CAMS, inputs={"checkpoint": tmp_path / "cam"})
    stage = {"type": "evaluate", "split": "train", "scores": "scores", "number": "seed"}
    evaluated = run(
        tmp_path / "seeds",
        shapes_root,
        {**stage, "threshold": 0.2, "sweep": SWEEP},
        inputs={"scores": tmp_path / "scores"},
    )
    assert report.validation is not None
    assert report.validation["iteration"] == [2, 4, 6]
    assert report.validation["cam"][-1] == pytest.approx(evaluated.metrics[0].value, abs=1e-9)
    assert report.validation["cam_threshold"][-1] == evaluated.metrics[0].threshold


def test_a_validation_does_not_change_what_is_trained(tmp_path: Path, shapes_root: Path) -> None:
    run(tmp_path / "plain", shapes_root, TRAIN)
    run(tmp_path / "validated", shapes_root, validated())
    assert same(weights_of(tmp_path / "plain"), weights_of(tmp_path / "validated"))


def test_logits_are_scored_against_masks(tmp_path: Path, shapes_root: Path) -> None:
    train = {**TRAIN, "labels": "mask", "model": {"type": "TinyNet", "num_classes": 11}}
    outputs = {"seg": {"inference": LOGITS["inference"]}}
    report = run(
        tmp_path / "seg", shapes_root, validated(train, outputs=outputs, epochs=1, interval=None, images=4)
    )
    assert report.validation is not None
    assert list(report.validation) == ["iteration", "seg"]
    assert report.validation["iteration"] == [3, 6]  # six images in batches of two
    assert all(value is not None and 0 < value < 1 for value in report.validation["seg"])


def test_maps_of_one_inference_share_its_passes(tmp_path: Path, shapes_root: Path) -> None:
    TwoCAMs.passes = 0
    outputs = {
        name: {"inference": {"type": "TwoCAMs"}, "map": name, "threshold": 0.2}
        for name in ("plain", "mirrored")
    }
    report = run(tmp_path / "cam", shapes_root, validated(outputs=outputs, interval=6))
    assert TwoCAMs.passes == 6  # images, once each
    assert report.validation is not None
    assert report.validation["plain"] != report.validation["mirrored"]


def fake_scores(monkeypatch: pytest.MonkeyPatch, scores: dict[int, float | None]) -> None:
    """Let validations find these mIoUs by iteration."""

    def score(self: ValidationHook, model: torch.nn.Module, done: int) -> dict[str, Any]:
        return {"cam": (scores[done], 0.2)}

    monkeypatch.setattr(validation.ValidationHook, "_score", score)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({2: 0.1, 4: 0.3, 6: 0.2}, 4),
        ({2: 0.3, 4: 0.1, 6: 0.3}, 2),
        ({2: None, 4: None, 6: None}, None),
        ({2: None, 4: 0.0, 6: None}, 4),
    ],
)
@pytest.mark.parametrize("killed_after", [None, 2, 4, 6])
def test_the_best_state_is_kept_also_by_a_killed_training(
    tmp_path: Path,
    shapes_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: dict[int, float | None],
    best: int | None,
    killed_after: int | None,
) -> None:
    fake_scores(monkeypatch, scores)
    config = validated(best="cam")
    if killed_after is not None:
        saved = train_hooks.ResumePoints.after_train_iter

        def then_die(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
            saved(self, runner, *arguments, **named)
            if runner.iter + 1 == killed_after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train_hooks.ResumePoints, "after_train_iter", then_die)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "cam", shapes_root, config)
    report = run(tmp_path / "cam", shapes_root, config)
    assert report.validation is not None
    assert report.validation["cam"] == [scores[2], scores[4], scores[6]]
    assert Artifact(tmp_path / "cam").manifest.meta.get("best_iteration") == best
    assert same(weights_of(tmp_path / "cam"), state_after(tmp_path, shapes_root, best or 6, monkeypatch))


def state_after(
    tmp_path: Path, shapes_root: Path, iteration: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """The network of an undisturbed training after some iterations."""
    kept: dict[str, torch.Tensor] = {}
    saved = train_hooks.ResumePoints.after_train_iter

    def keep(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
        saved(self, runner, *arguments, **named)
        if runner.iter + 1 == iteration:
            kept.update({name: tensor.clone() for name, tensor in runner.model.state_dict().items()})

    with monkeypatch.context() as patch:
        patch.setattr(train_hooks.ResumePoints, "after_train_iter", keep)
        run(tmp_path / "undisturbed", shapes_root, TRAIN)
    return kept


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"inference": CAMS["inference"]}, "outputs.cam is made of cam scores, which need a threshold"),
        ({"inference": {"type": "TwoCAMs"}, "map": "other", "threshold": 0.2}, "for the map 'other', but it"),
        ({**CAM, "map": "cam"}, "MultiScaleCAM for the map 'cam', but it makes one kind of scores only"),
    ],
)
def test_outputs_that_cannot_be_scored_are_one_sentence(
    tmp_path: Path, shapes_root: Path, output: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path / "cam", shapes_root, validated(outputs={"cam": output}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1}, "give one of interval and epochs"),
        ({"best": "seg"}, "best is 'seg', but the outputs are cam"),
        ({"outputs": {}}, "at least 1 item"),
        ({"outputs": {"cam": {**CAM, "threshold": 0.2}}}, "give one of threshold and sweep"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Validation.model_validate({"split": "val", "interval": 1, "outputs": {"cam": CAM}, **change})


def test_the_split_of_a_validation_belongs_to_its_stage() -> None:
    stage = STAGE.validate_python(validated(split="val"))
    assert (stage.splits(), stage.compared_split()) == (["train", "val"], "val")
    assert STAGE.validate_python(TRAIN).compared_split() is None
