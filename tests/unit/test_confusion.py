from __future__ import annotations

import math

import numpy as np
import pytest

from harness.metrics.confusion import confusion_matrix, segmentation_metrics


def test_counts_rows_ground_truth_columns_prediction() -> None:
    truth = np.array([[0, 0, 1], [2, 255, -1]])
    prediction = np.array([[0, 1, 1], [0, 2, 2]])
    matrix = confusion_matrix(truth, prediction, 3)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_undecided_prediction_counts_as_background() -> None:
    matrix = confusion_matrix(np.array([0, 1]), np.array([255, 255], dtype=np.uint8), 2)
    assert matrix.tolist() == [[1, 0], [1, 0]]


def test_metrics_by_hand() -> None:
    metrics = segmentation_metrics(np.array([[6, 2], [1, 3]]))
    assert metrics.iou == (6 / 9, 3 / 6)
    assert metrics.mean_iou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert metrics.pixel_accuracy == 9 / 12
    assert metrics.mean_accuracy == pytest.approx((6 / 8 + 3 / 4) / 2)
    rates = metrics.false_rates
    assert (rates.background_fp, rates.background_fn) == pytest.approx((1 - 8 / 9, 1 - 7 / 9))
    assert (rates.foreground_fp, rates.foreground_fn) == pytest.approx((1 - 4 / 6, 1 - 5 / 6))


def test_absent_classes_are_named_and_not_averaged() -> None:
    # Class 1 occurs nowhere; class 2 is only predicted, so it counts with IoU 0.
    metrics = segmentation_metrics(np.array([[3, 0, 1], [0, 0, 0], [0, 0, 0]]))
    assert metrics.absent == (1,)
    assert math.isnan(metrics.iou[1])
    assert metrics.iou[2] == 0
    assert metrics.mean_iou == pytest.approx((3 / 4 + 0) / 2)
    assert metrics.mean_accuracy == 3 / 4  # only background has ground truth


def test_large_counts_stay_exact() -> None:
    matrix = np.array([[2**55, 1], [1, 2**55]])
    assert segmentation_metrics(matrix + matrix).iou[0] == 2**56 / (2**56 + 4)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [([0, 1], [0], "prediction"), ([3], [0], "ground truth holds label 3"), ([0], [4], "label 4")],
)
def test_what_does_not_fit_is_refused(truth: list[int], prediction: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(truth), np.array(prediction), 3)
