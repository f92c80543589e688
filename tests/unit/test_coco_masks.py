"""Semantic masks from instances: whose pixel it is, and which segmentations are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as rle

from harness.data.coco_masks import Region, draw_mask, region_runs
from tests.unit.coco_tree import HEIGHT, WIDTH, box


def draw(*regions: tuple[int, Any]) -> np.ndarray:
    numbered = [Region(7 + n, label, segmentation) for n, (label, segmentation) in enumerate(regions)]
    return draw_mask(numbered, HEIGHT, WIDTH)


def test_the_earlier_annotation_wins_an_overlap_and_crowds_are_objects() -> None:
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    mask = draw((1, [box(5, 5, 15, 15)]), (80, [box(10, 5, 25, 15), box(30, 20, 35, 25)]), (3, crowd))
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.uint8
    assert mask[10, [4, 5, 12, 20, 32]].tolist() == [3, 1, 1, 80, 3]
    assert mask[22, 32] == 80
    assert np.unique(draw((3, crowd), (1, [box(5, 5, 15, 15)]))).tolist() == [3]


def test_the_mask_is_that_of_painting_one_annotation_after_the_other() -> None:
    rng = np.random.default_rng(0)
    regions = [(int(rng.integers(1, 81)), [rng.uniform(0, 40, 12).tolist()]) for _ in range(30)]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, polygons in regions:
        one = rle.decode(rle.merge(rle.frPyObjects(polygons, HEIGHT, WIDTH))).astype(bool)
        expected[one & (expected == 0)] = label
    assert (draw(*regions) == expected).all()


def test_no_annotation_is_all_background() -> None:
    assert not draw().any()


def test_a_polygon_of_less_than_three_points_covers_nothing() -> None:
    assert not draw((1, [[1.0, 2.0, 30.0, 20.0], []])).any()
    assert (draw((1, [box(5, 5, 9, 9), [1, 2, 30, 20]])) == draw((1, [box(5, 5, 9, 9)]))).all()


def test_a_tiny_region_is_rasterized_like_any_other() -> None:
    assert draw((9, [box(5.4, 5.4, 6.6, 6.6)])).sum() == 4 * 9  # four pixels of label 9
    assert not draw((9, [box(5.1, 5.1, 5.3, 5.3)])).any()


@settings(deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_length_codes_of_both_kinds_are_the_pixels_they_encode(pixels: np.ndarray) -> None:
    height, width = pixels.shape
    flat = pixels.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    plain = {"size": [height, width], "counts": [0, *counts] if flat[0] else counts}
    packed = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()
    for code in (plain, {"size": [height, width], "counts": packed}):
        runs = region_runs(code, height, width)
        assert (np.repeat(np.arange(len(runs)) % 2 == 1, runs) == flat).all()
        assert (draw_mask([Region(1, 9, code)], height, width) == 9 * pixels).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "neither polygons nor a run-length code"),
        ("polygon", "neither polygons nor a run-length code"),
        ([1, 2, 3, 4, 5, 6], "no list of x, y"),
        ([[1, 2, 3, 4, 5]], "no list of x, y"),
        ([[1, 2, 3, 4, 5, "6"]], "no list of x, y"),
        ([[1, 2, 3, 4, 5, float("nan")]], "far outside of the 40 x 30 pixels"),
        ([[1, 2, 3, 4, 5, 1e9]], "far outside of the 40 x 30 pixels"),
        ({"size": [40, 30], "counts": [1200]}, r"is for \[40, 30\] and not for \[30, 40\]"),
        ({"counts": [1200]}, r"not for \[30, 40\]"),
        ({"size": [30, 40], "counts": [10, 5]}, "covers 15 of 1200 pixels"),
        ({"size": [30, 40], "counts": [1000, 300]}, "covers 1300 of 1200 pixels"),
        ({"size": [30, 40], "counts": [1205, -5]}, "is broken"),
        ({"size": [30, 40], "counts": ["a"]}, "is broken"),
        ({"size": [30, 40]}, "is broken"),
        ({"size": [30, 40], "counts": "\u00e9"}, "is broken"),
        ({"size": [30, 40], "counts": "PU"}, "is broken"),
        ({"size": [30, 40], "counts": "O1"}, "covers 0 of 1200 pixels"),
        ({"size": [30, 40], "counts": "P" * 20 + "1"}, "is broken"),
        ({"size": [30, 40], "counts": ""}, "is broken"),
    ],
)
def test_what_is_no_segmentation_is_named_with_its_annotation(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"annotation 8 cannot be drawn: .*{message}"):
        draw((1, [box(5, 5, 15, 15)]), (2, segmentation))
