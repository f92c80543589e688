"""The sweep against its definition: one arg-max over [threshold, maps] per threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.metrics.boundary import count_boundary, count_boundary_levels
from harness.metrics.confusion import ClassCounts, confusion_matrix
from harness.metrics.split_counts import ImageCounts
from harness.metrics.sweep import Thresholds, count_levels, level_map

CLASSES = 21
SIXTY = [round(0.01 * step, 2) for step in range(1, 61)]
Image = tuple[np.ndarray, np.ndarray, np.ndarray]


def predict(keys: np.ndarray, maps: np.ndarray, threshold: float) -> np.ndarray:
    """The definition: arg-max over [threshold, maps], which takes the lowest of equal channels."""
    stack = np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=np.float32(threshold))
    return np.concatenate([[0], keys + 1])[stack.argmax(axis=0)].astype(np.uint8)


def at(counts: ImageCounts, column: int, num_classes: int = CLASSES) -> ClassCounts:
    """Counts of all classes at one threshold."""
    found = np.zeros((3, num_classes), np.int64)
    found[:, counts.labels] = counts.truth, counts.predicted[:, column], counts.hit[:, column]
    return ClassCounts(*found)


def assert_equal(one: ClassCounts, other: ClassCounts) -> None:
    for name in ("truth", "predicted", "hit"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def assert_equals_single_evaluations(image: Image, thresholds: Sequence[float]) -> None:
    keys, maps, truth = image
    grid = Thresholds(thresholds)
    levels = level_map(keys, maps, grid, CLASSES)
    whole, boundary = count_levels(levels, truth, CLASSES), count_boundary_levels(levels, truth, CLASSES)
    for column, threshold in enumerate(grid.values):
        labels = predict(keys, maps, threshold)
        assert_equal(at(whole, column), ClassCounts.of(confusion_matrix(truth, labels, CLASSES)))
        assert_equal(at(boundary, column), at(count_boundary(labels, truth, CLASSES), 0))


def image_with_ties(seed: int, keys: list[int], size: tuple[int, int] = (23, 31)) -> Image:
    """Scores of which many equal a threshold, each other, or both; ground truth in blocks, with 255."""
    rng = np.random.default_rng(seed)
    maps = rng.random((len(keys), *size), dtype=np.float32) * np.float32(0.8)
    on_grid = np.float32(SIXTY)[rng.integers(60, size=maps.shape)]
    maps = np.where(rng.random(maps.shape) < 0.4, on_grid, maps)
    if len(keys) > 1:
        maps[1] = np.where(rng.random(size) < 0.3, maps[0], maps[1])
    blocks = np.array([0, *(key + 1 for key in keys), 255])[rng.integers(len(keys) + 2, size=(4, 5))]
    truth = blocks.repeat(6, axis=0).repeat(7, axis=1)[: size[0], : size[1]]
    return np.array(keys, dtype=np.int64), maps, truth.astype(np.uint8)


@pytest.mark.parametrize("keys", [[0, 14], [7], [2, 8, 14], []])
def test_sweep_equals_sixty_single_thresholds(keys: list[int]) -> None:
    assert_equals_single_evaluations(image_with_ties(1, keys), [*SIXTY, 0.145])


SCORES = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.1, 0.25, 0.3, 1.0, -2.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Image, list[float]]:
    """Any scores, infinite and negative ones included, many of them equal to thresholds and to each other."""
    thresholds = draw(
        st.lists(st.floats(-1e6, 1e6, width=32) | SCORES.filter(np.isfinite), min_size=1, max_size=6)
    )
    keys = draw(st.lists(st.integers(0, CLASSES - 2), unique=True, max_size=3).map(sorted))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    elements = SCORES | st.sampled_from(thresholds)
    maps = draw(arrays.arrays(np.float32, (len(keys), *size), elements=elements))
    labels = st.sampled_from([0, *(key + 1 for key in keys), CLASSES - 1, 255])
    return (np.array(keys, np.int64), maps, draw(arrays.arrays(np.uint8, size, elements=labels))), thresholds


@given(cases())
@settings(max_examples=150, deadline=None)
def test_sweep_equals_single_thresholds_on_any_scores(case: tuple[Image, list[float]]) -> None:
    assert_equals_single_evaluations(*case)


@pytest.mark.parametrize(
    "thresholds",
    [
        np.linspace(0, 1, 300).tolist(),  # more than a byte counts
        [0.1, float(np.nextafter(np.float32(0.1), np.float32(1))), 0.9],  # neighbours in float32
        [0.5],
        [-0.3, 0.0, 1e-30, 0.2],
        [0.0, float(np.float32(1e-45))],
        [-3e38, 0.0, 3e38],
    ],
    ids=["many", "neighbours", "one", "uneven", "denormal", "huge"],
)
def test_any_thresholds_are_exact(thresholds: list[float]) -> None:
    grid = Thresholds(thresholds)
    near = [np.nextafter(grid.values, np.float32(side)) for side in (-1, 2)]
    rng = np.random.default_rng(3)
    scores = np.concatenate([grid.values, *near, rng.random(2000, dtype=np.float32)])[None]
    np.testing.assert_array_equal(grid.levels(scores), np.searchsorted(grid.values, scores, side="left"))


def test_codes_that_store_a_map_of_every_class_are_counted_alike() -> None:
    """81 classes do not fit the 16 bits of the histogram of a few."""
    rng = np.random.default_rng(4)
    keys, maps = np.arange(80), rng.random((80, 12, 13), dtype=np.float32)
    truth = rng.integers(0, 81, size=(12, 13)).astype(np.uint8)
    counts = count_levels(level_map(keys, maps, Thresholds(SIXTY), 81), truth, 81)
    single = ClassCounts.of(confusion_matrix(truth, predict(keys, maps, 0.3), 81))
    assert_equal(at(counts, SIXTY.index(0.3), 81), single)


def test_equal_thresholds_count_once_and_are_found() -> None:
    grid = Thresholds([0.3, 0.1, 0.3])
    assert grid.values.tolist() == [np.float32(0.1), np.float32(0.3)]
    assert (len(grid), grid.index(0.1), grid.index(0.3)) == (2, 0, 1)


def test_wrong_input_is_refused() -> None:
    grid, truth = Thresholds(SIXTY), np.zeros((4, 5), dtype=np.uint8)
    maps = np.zeros((1, 4, 5), dtype=np.float32)
    with pytest.raises(ValueError, match=r"scores \(1, 4, 5\) for 2 classes"):
        level_map(np.array([0, 1]), maps, grid, 3)
    with pytest.raises(ValueError, match="do not fit 3 classes"):
        level_map(np.array([2]), maps, grid, 3)
    with pytest.raises(ValueError, match=r"\[1, 1\] do not fit"):
        level_map(np.array([1, 1]), np.zeros((2, 4, 5), np.float32), grid, 3)
    with pytest.raises(ValueError, match="NaN"):
        level_map(np.array([0]), np.where(np.eye(4, 5), np.nan, maps).astype(np.float32), grid, 3)
    levels = level_map(np.array([0]), maps, grid, 3)
    with pytest.raises(ValueError, match="the ground truth is"):
        count_levels(levels, truth[1:], 3)
    with pytest.raises(ValueError, match="label 3"):
        count_levels(levels, truth + np.uint8(3), 3)
