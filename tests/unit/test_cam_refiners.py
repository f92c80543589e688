"""Refiners that turn CAMs, or a network's logits, into masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.ops import segmentation_refiner
from harness.ops.crf import crf_from_probabilities
from harness.ops.crf_refiner import ALPHA_CRF, CAMAlphaCRF, with_alpha_background
from harness.ops.segmentation_refiner import MultiScaleSegmentation, scaled_inputs, truncated_image
from harness.ops.threshold_refiner import CAMThreshold
from harness.registry import REFINERS

SIZE = (24, 30)


@pytest.fixture
def image() -> np.ndarray:
    """Dark left half, bright right half, slight noise."""
    noise = np.random.default_rng(1).integers(0, 10, size=(*SIZE, 3))
    noise[:, SIZE[1] // 2 :] += 200
    return noise.astype(np.uint8)


def cams(*maps: np.ndarray, keys: tuple[int, ...] = (3, 7)) -> dict[str, np.ndarray]:
    return {"keys": np.array(keys[: len(maps)]), "high_res": np.array(maps, np.float32).reshape(-1, *SIZE)}


def test_a_threshold_lets_the_background_win_ties() -> None:
    one, other = np.zeros(SIZE), np.zeros(SIZE)
    one[:4], one[4:8], other[4:8], other[8:12] = 0.5, 0.25, 0.25, 0.6
    mask = CAMThreshold(0.25)(np.zeros((*SIZE, 3), np.uint8), cams(one, other))
    assert mask.dtype == np.uint8
    rows = mask[:, 0]
    assert rows[:4].tolist() == [4] * 4
    assert rows[4:8].tolist() == [0] * 4  # both classes and the background are equal
    assert rows[8:12].tolist() == [8] * 4
    lower = CAMThreshold(0.2)(np.zeros((*SIZE, 3), np.uint8), cams(one, other))
    assert lower[5, 0] == 4  # of equal classes the first


def test_an_image_without_classes_is_background(image: np.ndarray) -> None:
    empty = {"keys": np.zeros(0, np.int64), "high_res": np.zeros((0, *SIZE), np.float32)}
    for refiner in (CAMThreshold(0.2), CAMAlphaCRF(7)):
        assert not refiner(image, empty).any()


def test_alpha_weighs_the_background_against_the_best_class() -> None:
    maps = np.array([[[0.0, 0.5, 1.0]], [[0.25, 0.1, 0.2]]], np.float32)
    found = with_alpha_background(maps, 4)
    np.testing.assert_allclose(found[0], [[0.75**4, 0.5**4, 0]], rtol=1e-6)
    np.testing.assert_array_equal(found[1:], maps)


def test_the_crf_on_cams_is_that_of_the_probabilities(image: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    scores = cams(rng.random(SIZE), rng.random(SIZE))
    energies = with_alpha_background(scores["high_res"], 7)
    expected, _ = crf_from_probabilities(image, energies, ALPHA_CRF)
    mask = REFINERS.build({"type": "CAMAlphaCRF", "alpha": 7})(image, scores)
    np.testing.assert_array_equal(mask, np.array([0, 4, 8])[expected])


def test_more_background_with_a_smaller_alpha_and_the_crf_can_be_changed(image: np.ndarray) -> None:
    scores = cams(np.random.default_rng(5).random(SIZE) * 0.6)
    none = {"iterations": 0}
    areas = [(CAMAlphaCRF(alpha, none)(image, scores) == 0).sum() for alpha in (1, 4, 24)]
    assert areas[0] > areas[1] > areas[2]
    assert CAMAlphaCRF(4, none).parameters == replace(ALPHA_CRF, iterations=0)


class Net(nn.Module):
    """A convolution at stride 4, brought to the size of its input like the segmentation networks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, inputs: torch.Tensor, mode: str) -> torch.Tensor:
        assert mode == "tensor"
        return F.interpolate(self.conv(inputs), inputs.shape[-2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize("flip", [False, True])
@torch.no_grad()
def test_scales_and_mirrors_are_averaged(image: np.ndarray, flip: bool) -> None:
    net, scales = Net().eval(), (0.75, 1.0, 1.5)
    total = torch.zeros(4, *SIZE)
    for stack in scaled_inputs(image, scales):
        for index, view in enumerate(torch.from_numpy(stack)[: 1 + flip]):
            logits = F.interpolate(net(view[None], "tensor"), SIZE, mode="bilinear", align_corners=True)[0]
            total += logits.flip(-1) if index else logits
    refiner = MultiScaleSegmentation(scales, flip=flip)
    scores = refiner.predict(image, net, "cpu")
    np.testing.assert_array_equal(refiner(image, scores), total.argmax(0).numpy())
    soft = MultiScaleSegmentation(scales, flip=flip, crf={}).predict(image, net, "cpu")["probability"]
    np.testing.assert_allclose(soft, (total / (3 * (1 + flip))).softmax(0).numpy(), rtol=1e-4, atol=1e-6)


def test_scaled_inputs_are_an_image_and_its_mirror(image: np.ndarray) -> None:
    for stack, size in zip(scaled_inputs(image, (0.5, 2.0)), ((12, 15), (48, 60)), strict=True):
        assert stack.shape == (2, 3, *size)
        np.testing.assert_array_equal(stack[1], stack[0][..., ::-1])


@pytest.mark.parametrize("exact", [False, True])
def test_the_crf_sees_the_image_as_the_release_or_as_it_is(
    image: np.ndarray, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def crf(picture: np.ndarray, probability: np.ndarray, _: object) -> tuple[np.ndarray, np.ndarray]:
        seen.append(picture)
        return probability.argmax(0), probability

    monkeypatch.setattr(segmentation_refiner, "crf_from_probabilities", crf)
    probability = np.random.default_rng(0).random((4, *SIZE), np.float32)
    MultiScaleSegmentation(crf={}, exact_uint8=exact)(image, {"probability": probability})
    truncated = truncated_image(image)
    assert not np.array_equal(truncated, image)
    assert (image.astype(int) - truncated).max() == 1
    np.testing.assert_array_equal(seen[0], image if exact else truncated)
