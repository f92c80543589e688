"""Threshold sweep of one image of VOC's usual size, against one evaluation per threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harness.metrics.bootstrap import resampled_mean_iou
from harness.metrics.boundary import count_boundary_levels
from harness.metrics.confusion import confusion_matrix
from harness.metrics.split_counts import SplitCounts
from harness.metrics.sweep import Thresholds, count_levels, level_map

SIXTY = [round(0.01 * step, 2) for step in range(60)]
GRID = Thresholds(SIXTY)
KEYS = np.array([2, 14])
Image = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def image() -> Image:
    """Smooth scores (2, 375, 500), as CAMs are, and a ground truth in large regions."""
    coarse = torch.rand(1, 2, 24, 32, generator=torch.Generator().manual_seed(1))
    scores = F.interpolate(coarse, size=(375, 500), mode="bilinear")[0].numpy()
    truth = np.array([0, 3, 15, 255])[np.random.default_rng(1).integers(4, size=(15, 20))]
    return scores, truth.repeat(25, axis=0).repeat(25, axis=1).astype(np.uint8)


@pytest.mark.benchmark(group="sixty thresholds, one image")
def test_one_pass(benchmark, image: Image) -> None:
    scores, truth = image
    benchmark(lambda: count_levels(level_map(KEYS, scores, GRID, 21), truth, 21))


@pytest.mark.benchmark(group="sixty thresholds, one image")
def test_one_pass_with_boundaries(benchmark, image: Image) -> None:
    scores, truth = image

    def evaluate() -> None:
        levels = level_map(KEYS, scores, GRID, 21)
        count_levels(levels, truth, 21)
        count_boundary_levels(levels, truth, 21)

    benchmark(evaluate)


@pytest.mark.benchmark(group="sixty thresholds, one image")
def test_one_evaluation_per_threshold(benchmark, image: Image) -> None:
    scores, truth = image

    def evaluate() -> None:
        for threshold in SIXTY:
            stack = np.pad(scores, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
            prediction = np.concatenate([[0], KEYS + 1])[stack.argmax(axis=0)]
            confusion_matrix(truth, prediction, 21)

    benchmark.pedantic(evaluate, rounds=3)


@pytest.mark.benchmark(group="bootstrap of a sweep over 1,449 images")
def test_bootstrap(benchmark) -> None:
    rng = np.random.default_rng(1)
    split = SplitCounts(1449, 21, len(SIXTY))
    present = rng.random((1449, 21)) < 0.12
    present[:, 0] = True
    split.truth += rng.integers(100_000, size=present.shape) * present
    split.hit += split.truth[..., None] // 2
    split.predicted += split.truth[..., None]
    benchmark.pedantic(resampled_mean_iou, [split], rounds=3)
