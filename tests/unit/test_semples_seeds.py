"""Seeds by object masks, and Mask2Former behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from transformers import SwinConfig, SwinForImageClassification

from harness.artifact import Artifact
from methods.semples.convert import RENAMED, convert_swin
from methods.semples.fma import ObjectMasks, mask_seed
from methods.semples.mask2former import SWIN_LARGE, Mask2Former
from methods.semples.seed_objects import main

KEYS = np.array([4, 14])


def _objects(*boxes: tuple[int, int, int, int], levels: list[int]) -> ObjectMasks:
    masks = np.zeros((len(boxes), 8, 8), dtype=bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return ObjectMasks(masks, np.array(levels))


def _cam() -> np.ndarray:
    cam = np.zeros((2, 8, 8))
    cam[0, :4, :4] = 1.0
    cam[1, 4:, 4:] = 1.0
    return cam


def test_objects_get_the_class_of_their_cam_and_the_rest_is_background() -> None:
    seed = mask_seed(_cam(), KEYS, _objects((0, 0, 4, 4), (4, 4, 8, 8), (0, 6, 2, 8), levels=[2, 2, 2]), 1.0)
    assert (seed[:4, :4] == 5).all()
    assert (seed[4:, 4:] == 15).all()
    assert (seed[:2, 6:] == 0).all()
    assert (seed[4:, :4] == 0).all()


def test_whole_objects_are_painted_over_their_parts() -> None:
    boxes = ((0, 0, 8, 5), (4, 4, 8, 8))
    over = mask_seed(_cam(), KEYS, _objects(*boxes, levels=[2, 0]), 1.0)
    under = mask_seed(_cam(), KEYS, _objects(*boxes, levels=[0, 2]), 1.0)
    assert (over[4:, 4] == 5).all()
    assert (under[4:, 4] == 15).all()


def test_a_small_power_leaves_more_background() -> None:
    objects = _objects((0, 0, 4, 4), (2, 0, 8, 4), (4, 4, 8, 8), levels=[2, 1, 2])
    few, many = (int((mask_seed(_cam(), KEYS, objects, power) > 0).sum()) for power in (0.1, 3.0))
    assert few < many


def test_no_class_or_no_object_is_all_background() -> None:
    none = ObjectMasks(np.zeros((0, 8, 8), dtype=bool), np.zeros(0, dtype=int))
    assert not mask_seed(_cam(), KEYS, none, 1.0).any()
    some = _objects((0, 0, 4, 4), levels=[2])
    assert not mask_seed(np.zeros((0, 8, 8)), np.zeros(0, dtype=int), some, 1.0).any()


def test_cams_of_another_size_are_resized() -> None:
    small = np.zeros((2, 4, 4))
    small[0, :2, :2] = small[1, 2:, 2:] = 1.0
    objects = _objects((0, 0, 4, 4), (4, 4, 8, 8), levels=[2, 2])
    np.testing.assert_array_equal(mask_seed(small, KEYS, objects, 1.0), mask_seed(_cam(), KEYS, objects, 1.0))


@pytest.fixture(scope="module")
def tiny() -> Mask2Former:
    torch.manual_seed(0)
    return Mask2Former(
        4,
        {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 4},
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=5,
        train_num_points=64,
    )


def _samples(labels: torch.Tensor) -> list[SegDataSample]:
    samples = [SegDataSample() for _ in labels]
    for sample, label in zip(samples, labels, strict=True):
        sample.gt_sem_seg = PixelData(data=label[None])
    return samples


def test_mask2former_learns_from_masks_with_ignored_pixels(tiny: Mask2Former) -> None:
    labels = torch.zeros(2, 64, 96, dtype=torch.int64)
    labels[0, :20], labels[0, 20:40], labels[1] = 3, 255, 255
    losses = tiny.train()(torch.randn(2, 3, 64, 96), _samples(labels), mode="loss")
    losses["loss_queries"].backward()
    assert torch.isfinite(losses["loss_queries"])
    first = tiny.backbone.get_parameter("swin.embeddings.patch_embeddings.projection.weight")
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_mask2former_scores_and_labels_any_size(tiny: Mask2Former) -> None:
    inputs = torch.randn(1, 3, 70, 101)
    with torch.inference_mode():
        scores = tiny.eval()(inputs)
        (sample,) = tiny(inputs, [SegDataSample()], mode="predict")
    assert scores.shape[:2] == (1, 4)
    assert (scores >= 0).all()
    assert sample.pred_sem_seg.data.shape == (1, 70, 101)
    assert sample.pred_sem_seg.data.max() < 4
    with pytest.raises(ValueError, match="needs data samples"):
        tiny(inputs, mode="loss")


def test_the_published_swin_converts() -> None:
    with torch.device("meta"):
        network = SwinForImageClassification(SwinConfig(**SWIN_LARGE, num_labels=21841))
    published = {}
    for name, tensor in network.state_dict().items():
        old = name
        for before, after in RENAMED.items():
            old = old.replace(after, before)
        published[old] = tensor
    found = convert_swin(published)
    assert found.complete
    assert set(found.dropped) == {"classifier.weight", "classifier.bias"}
    assert "swin.encoder.layers.0.blocks.0.attention.self.query.weight" in published


def _cams(folder: Path) -> Path:
    """An artifact of CAMs of one image, and its objects beside it."""
    artifact = Artifact(folder / "cams")
    artifact.files.mkdir(parents=True)
    np.savez(artifact.files / "a.npz", keys=KEYS, cam=_cam()[:, ::4, ::4], high_res=_cam())
    artifact.finish("scores", "cam_scores", "k" * 32, {"scores": "cam"})
    (folder / "objects").mkdir()
    objects = _objects((0, 0, 4, 4), (4, 4, 8, 8), levels=[2, 2])
    np.savez(folder / "objects" / "a.npz", masks=objects.masks, levels=objects.levels)
    return artifact.folder


def _command(folder: Path, scores: Path) -> int:
    options = {"--scores": scores, "--objects": folder / "objects", "--out": folder / "seeds"}
    return main([str(word) for pair in options.items() for word in pair])


def test_the_command_writes_labels_of_every_image(tmp_path: Path) -> None:
    assert _command(tmp_path, _cams(tmp_path)) == 0
    seed = np.asarray(Image.open(tmp_path / "seeds" / "a.png"))
    assert (seed[:4, :4] == 5).all()
    assert (seed[4:, 4:] == 15).all()


@pytest.mark.parametrize("wrong", ["size", "levels", "missing", "broken", "scores"])
def test_wrong_input_is_one_sentence(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, file = _cams(tmp_path), tmp_path / "objects" / "a.npz"
    if wrong == "size":
        np.savez(file, masks=np.ones((1, 8, 9), bool), levels=np.ones(1))
    if wrong == "levels":
        np.savez(file, masks=np.ones((1, 8, 8), bool), levels=np.ones(2))
    if wrong == "missing":
        file.unlink()
    if wrong == "broken":
        file.write_bytes(b"no archive")
    assert _command(tmp_path, tmp_path if wrong == "scores" else scores) == 2
    assert capsys.readouterr().err.startswith("error: ")
