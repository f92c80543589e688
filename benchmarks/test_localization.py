"""Boxes of a class map at 1,000 thresholds: contours once per level, and once per threshold as elsewhere."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from harness.metrics.localization import best_iou, box_iou, boxes_at_level, score_map

THRESHOLDS = np.arange(0, 1, 0.001).tolist()
TRUTH = np.array([[30, 40, 180, 200]])


def a_map() -> np.ndarray:
    """A class map as a network of stride 16 makes it, at 224 x 224."""
    return score_map(np.random.default_rng(0).random((14, 14)))


def per_threshold(scores: np.ndarray, multiple: bool) -> np.ndarray:
    """The best IoU at each threshold, each for itself."""
    pixels = np.floor(255 * scores).astype(np.uint8)
    top = int(pixels.max())
    found = [boxes_at_level(pixels, int(t * top), multiple=multiple) for t in THRESHOLDS]
    return np.array([box_iou(boxes, TRUTH).max() for boxes in found])


@pytest.mark.parametrize("how", ["per level", "per threshold"])
@pytest.mark.parametrize("multiple", [False, True])
def test_boxes(benchmark: Any, how: str, multiple: bool) -> None:
    scores = a_map()
    cv2.setNumThreads(1)
    expected = per_threshold(scores, multiple)
    if how == "per level":
        found = benchmark(best_iou, scores, TRUTH, THRESHOLDS, multiple=multiple)
    else:
        found = benchmark(per_threshold, scores, multiple)
    np.testing.assert_array_equal(found, expected)
