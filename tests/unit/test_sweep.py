from __future__ import annotations

import numpy as np
import pytest

from harness.errors import InputError
from harness.metrics.confusion import class_iou, confusion_matrix, mean_over_classes
from harness.metrics.sweep import ThresholdSweep

SIXTY = [round(0.01 * step, 2) for step in range(1, 61)]


def predict(keys: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """The definition: arg-max over [threshold, maps], which takes the lowest of equal channels."""
    stack = np.pad(scores, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
    return np.concatenate([[0], keys + 1])[stack.argmax(axis=0)]


def image_with_ties(rng: np.random.Generator, keys: list[int], size: tuple[int, int]) -> tuple:
    """Scores of which many equal a threshold, each other, or both; ground truth with 255 and -1."""
    scores = rng.random((len(keys), *size), dtype=np.float32) * np.float32(0.8)
    on_grid = np.float32(SIXTY)[rng.integers(60, size=scores.shape)]
    scores = np.where(rng.random(scores.shape) < 0.4, on_grid, scores)
    if len(keys) > 1:
        scores[1] = np.where(rng.random(size) < 0.3, scores[0], scores[1])
    truth = np.array([0, *(key + 1 for key in keys), 255, -1])[rng.integers(len(keys) + 3, size=size)]
    return np.array(keys, dtype=np.int64), scores, truth


IMAGES = [[0, 14], [7], [2, 8, 14], []]


def swept(seed: int, thresholds: list[float], fixed: float) -> tuple[ThresholdSweep, list[tuple]]:
    rng = np.random.default_rng(seed)
    images = [image_with_ties(rng, keys, (23, 31)) for keys in IMAGES]
    sweep = ThresholdSweep(21, thresholds, fixed)
    for image in images:
        sweep.add(*image)
    return sweep, images


def single(images: list[tuple], threshold: float) -> np.ndarray:
    return sum(confusion_matrix(truth, predict(keys, maps, threshold), 21) for keys, maps, truth in images)


def test_sweep_equals_sixty_single_thresholds() -> None:
    sweep, images = swept(1, SIXTY, 0.145)
    matrices = sweep.matrices(SIXTY)
    assert matrices.dtype == np.int64
    for matrix, threshold in zip(matrices, SIXTY):
        np.testing.assert_array_equal(matrix, single(images, threshold))


def test_result_names_best_and_fixed_threshold() -> None:
    sweep, images = swept(2, SIXTY, 0.145)
    result = sweep.result()
    singles = [mean_over_classes(class_iou(single(images, threshold))) for threshold in SIXTY]
    assert list(result.mean_iou) == singles
    assert result.best_threshold == SIXTY[int(np.argmax(singles))]
    assert result.best.mean_iou == max(singles)
    assert result.fixed.mean_iou == mean_over_classes(class_iou(single(images, 0.145)))


def test_fixed_threshold_is_never_the_best() -> None:
    sweep = ThresholdSweep(2, [0.8, 0.9], fixed=0.5)
    sweep.add(np.array([0]), np.array([[[0.7, 0.2]]], dtype=np.float32), np.array([[1, 0]]))
    result = sweep.result()
    assert result.fixed.mean_iou == 1
    assert result.best_threshold == 0.8
    assert result.best.mean_iou == 0.25


def test_parts_of_a_split_add_up() -> None:
    whole, images = swept(3, SIXTY, 0.14)
    parts = [ThresholdSweep(21, SIXTY, 0.14) for _ in images]
    for part, image in zip(parts, images):
        part.add(*image)
    total = parts[0] + parts[1] + (parts[2] + parts[3])
    np.testing.assert_array_equal(total.matrices(SIXTY), whole.matrices(SIXTY))


def test_sweeps_over_different_thresholds_do_not_add() -> None:
    with pytest.raises(ValueError, match="same classes and thresholds"):
        ThresholdSweep(21, [0.1], 0.1) + ThresholdSweep(21, [0.2], 0.1)


@pytest.mark.parametrize("thresholds", [[], [0.2, 0.1], [0.1, 0.1]])
def test_thresholds_must_ascend(thresholds: list[float]) -> None:
    with pytest.raises(InputError, match="ascend"):
        ThresholdSweep(21, thresholds, 0.1)


def test_wrong_input_is_refused() -> None:
    sweep, truth = ThresholdSweep(3, SIXTY, 0.1), np.zeros((4, 5), dtype=np.uint8)
    scores = np.zeros((1, 4, 5), dtype=np.float32)
    with pytest.raises(ValueError, match="scores of 1 classes"):
        sweep.add(np.array([0]), scores[:, 1:], truth)
    with pytest.raises(ValueError, match="do not fit 3 classes"):
        sweep.add(np.array([2]), scores, truth)
    with pytest.raises(ValueError, match="label 3"):
        sweep.add(np.array([0]), scores, truth + 3)
    with pytest.raises(ValueError, match="NaN"):
        sweep.add(np.array([0]), scores * np.nan, truth)
