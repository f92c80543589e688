from __future__ import annotations

import numpy as np
import pytest

from harness.metrics import split_counts
from harness.metrics.bootstrap import RESAMPLES, percentile_interval, resampled_mean_iou
from harness.metrics.confusion import ClassCounts, mean_over_classes, segmentation_metrics
from harness.metrics.split_counts import BatchCounts, ImageCounts, SplitCounts


def split_of(images: int, classes: int = 4, thresholds: int = 3, seed: int = 0) -> SplitCounts:
    """Images with one or two classes besides background."""
    rng = np.random.default_rng(seed)
    split = SplitCounts(images, classes, thresholds)
    for image in range(images):
        labels = np.array([0, *sorted(rng.choice(np.arange(1, classes), rng.integers(1, 3), replace=False))])
        truth = rng.integers(1, 1000, size=len(labels))
        hit = np.sort(rng.integers(truth[:, None] + 1, size=(len(labels), thresholds)))
        predicted = hit + rng.integers(1000, size=hit.shape)
        split.add(BatchCounts.of([image], [ImageCounts(labels, truth, predicted, hit)]))
    return split


def test_every_draw_is_the_metric_of_the_drawn_images() -> None:
    """The definition: sum the counts of the drawn images, one by one."""
    split = split_of(images=9)
    draws = resampled_mean_iou(split)
    drawn = np.random.default_rng(0).integers(9, size=(RESAMPLES, 9))
    for draw in (0, 1, 500):
        for column in range(3):
            counts = [
                (split.truth[i], split.predicted[i, :, column], split.hit[i, :, column]) for i in drawn[draw]
            ]
            summed = ClassCounts(*(np.sum(part, axis=0) for part in zip(*counts)))
            assert draws[draw, column] == pytest.approx(segmentation_metrics(summed).mean_iou, rel=1e-12)


def test_the_interval_holds_the_value_and_shrinks_with_the_number_of_images() -> None:
    widths = []
    for images in (50, 800):
        split = split_of(images)
        low, high = percentile_interval(resampled_mean_iou(split)[:, 0])
        assert low < mean_over_classes(split.total().iou)[0] < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)  # the square root of 16


def test_most_intervals_hold_the_value_of_the_population() -> None:
    """95 % of them should: of 40 samples 38, and hardly ever less than 34."""
    truth = mean_over_classes(split_of(20_000, seed=1).total().iou)[0]
    held = 0
    for seed in range(40):
        low, high = percentile_interval(resampled_mean_iou(split_of(60, seed=100 + seed))[:, 0])
        held += low <= truth <= high
    assert held >= 34


def test_draws_without_any_class_give_no_interval() -> None:
    assert percentile_interval(resampled_mean_iou(SplitCounts(5, 3, 1))[:, 0]) is None


def test_the_order_of_images_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    images = [
        ImageCounts(np.array([0, 2]), rng.integers(9, size=2), *rng.integers(9, size=(2, 2, 1)))
        for _ in range(7)
    ]
    one, other = SplitCounts(7, 3, 1), SplitCounts(7, 3, 1)
    one.add(BatchCounts.of(range(7), images))
    for place in (3, 0, 6, 5, 1, 2, 4):
        other.add(BatchCounts.of([place], [images[place]]))
    np.testing.assert_array_equal(one.predicted, other.predicted)
    np.testing.assert_array_equal(one.truth, other.truth)


def test_a_large_split_is_kept_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals stay exact, memory stays bounded, and the interval hardly moves."""
    whole = split_of(600)
    monkeypatch.setattr(split_counts, "_MAX_COUNTS", 4 * 7 * 200)
    grouped = split_of(600)
    assert (whole.groups, grouped.groups) == (600, 200)
    for name in ("truth", "predicted", "hit"):
        np.testing.assert_array_equal(getattr(whole.total(), name), getattr(grouped.total(), name))
    one, other = (percentile_interval(resampled_mean_iou(split)[:, 0]) for split in (whole, grouped))
    assert other == pytest.approx(one, abs=0.3 * (one[1] - one[0]))
