"""Boundary IoU against its definition in the paper, mask by mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from harness.metrics.boundary import boundary_region, boundary_width, count_boundary


def boundary_of_mask(mask: np.ndarray, width: int) -> np.ndarray:
    """The paper's: a mask without its erosion by `width` steps of 3 x 3, outside of the image being 0."""
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)
    return mask & (eroded[1:-1, 1:-1] == 0)


def regions(rng: np.random.Generator, size: tuple[int, int], labels: list[int]) -> np.ndarray:
    """A label map of blobs."""
    coarse = rng.random((len(labels), 5, 6), dtype=np.float32)
    smooth = np.stack([cv2.resize(blob, size[::-1]) for blob in coarse])
    return np.array(labels, np.uint8)[smooth.argmax(0)]


@pytest.mark.parametrize("size", [(60, 80), (150, 110), (7, 90)])
def test_regions_and_counts_are_those_of_the_paper(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    truth, prediction = (regions(rng, size, [0, 3, 4]) for _ in range(2))
    width = boundary_width(*size)
    counts = count_boundary(prediction, truth, 5)
    nothing = np.zeros(size, bool)
    for row, label in enumerate(counts.labels):
        true = boundary_of_mask(truth == label, width)
        found = boundary_of_mask(prediction == label, width)
        np.testing.assert_array_equal(boundary_region(truth, nothing) & (truth == label), true)
        assert counts.truth[row] == true.sum()
        assert counts.predicted[row] == found.sum()
        assert counts.hit[row] == (true & found).sum()
    assert counts.labels.tolist() == [0, 3, 4]


def test_the_width_is_two_percent_of_the_diagonal() -> None:
    assert boundary_width(300, 400) == 10
    assert boundary_width(375, 500) == 12  # 12.5, rounded to even
    assert boundary_width(10, 10) == 1


def test_a_prediction_that_is_right_outside_of_void_pixels_is_perfect() -> None:
    rng = np.random.default_rng(2)
    whole = regions(rng, (90, 120), [0, 1, 2])
    rim = cv2.dilate(whole, np.ones((5, 5), np.uint8)) != cv2.erode(whole, np.ones((5, 5), np.uint8))
    truth = np.where(rim, np.uint8(255), whole)
    for filling in (whole, np.where(rim, np.uint8(0), whole), np.where(rim, np.uint8(2), whole)):
        counts = count_boundary(filling, truth, 3)
        np.testing.assert_array_equal(counts.hit[:, 0], counts.truth)
        np.testing.assert_array_equal(counts.predicted[:, 0], counts.truth)
        assert counts.truth.min() > 0


def test_void_pixels_make_no_boundary_of_a_prediction() -> None:
    """An object that fills the image has its boundary at the image's rim only, whatever is void."""
    truth = np.ones((100, 100), np.uint8)
    truth[40:60, 40:60] = 255
    counts = count_boundary(np.ones_like(truth), truth, 2)
    width = boundary_width(100, 100)
    assert counts.labels.tolist() == [1]
    assert counts.truth[0] == counts.predicted[0, 0] == 100**2 - (100 - 2 * width) ** 2


def test_undecided_pixels_are_background() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    undecided = np.where(truth == 1, truth, np.uint8(255))
    counts = count_boundary(undecided, truth, 2)
    np.testing.assert_array_equal(counts.hit[:, 0], counts.truth)


def test_a_boundary_that_is_off_costs_more_than_area_does() -> None:
    """Twice the size, the same error of the outline: IoU forgives it, boundary IoU does not."""
    truth = np.zeros((200, 200), np.uint8)
    truth[50:150, 50:150] = 1
    shifted = np.roll(truth, 3, axis=1)
    counts = count_boundary(shifted, truth, 2)
    row = counts.labels.tolist().index(1)
    union = counts.truth[row] + counts.predicted[row, 0] - counts.hit[row, 0]
    iou = (truth & shifted).sum() / (truth | shifted).sum()
    assert counts.hit[row, 0] / union < iou - 0.1
