"""All background thresholds of a CAM evaluation in one pass over each image.

At threshold b the prediction of a pixel is the arg-max over [b, class maps], ties to the lower channel (vwe
spec section 8, irn spec A.4): background where the pixel's best score is <= b, else its best class. So all
that matters of a pixel is its best class and its level, the number of thresholds below its best score: it is
background from the threshold of that index on. One histogram over (ground truth, best class, level) holds the
counts of every threshold, bit for bit those of one evaluation per threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from harness.metrics.confusion import VOID, Counts
from harness.metrics.split_counts import ImageCounts

Mask = npt.NDArray[np.uint8]
Unsigned = npt.NDArray[np.unsignedinteger[Any]]

OTHER = 254  # in a map of ground truth: counted, but a hit of no class
_MAX_LEVEL = 253  # of 8 bits; the boundary needs 255 for itself
_EXACT_IN_FLOAT32 = 1 << 24
_STRIP = 128  # rows that are worked on at a time, so that they stay in a processor's cache
_BUCKETS = (1 << 8, 1 << 16)  # tables that are tried, the fast one first


class Thresholds:
    """Background scores, and where other scores lie among them.

    Scores and thresholds compare in float32, the type that a threshold takes in the stack of maps.

    A score's bucket is (score - lowest threshold) * scale, cut to the table and rounded down. Each of these
    steps is monotone in float32, so a score in another bucket than a threshold's lies on the side of it that
    the buckets say. Where no two thresholds share a bucket, one exact comparison per score settles the rest.

    Args:
        values: in any order; equal ones count once.

    Attributes:
        values: (T,) float32, ascending.
        level_type: of numbers from 0 to T.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self.values = np.unique(np.asarray(values, dtype=np.float32))
        self.level_type = np.dtype(np.uint8 if len(self.values) <= _MAX_LEVEL else np.uint16)
        # Not less than 2^-100, so that the scale is finite.
        spread = max(float(self.values[-1]) - float(self.values[0]), 2.0**-100)
        for size in _BUCKETS:
            self._last = size - 1
            self._scale = np.float32(self._last / spread)
            bucket = self._bucket(self.values)
            self._separate = len(np.unique(bucket)) == len(bucket)
            if self._separate:
                self._inside = np.full(size, np.inf, np.float32)
                self._inside[bucket] = self.values
                self._before = np.searchsorted(bucket, np.arange(size)).astype(self.level_type)
                break

    def __len__(self) -> int:
        return len(self.values)

    def index(self, threshold: float) -> int:
        """Position of one of the thresholds."""
        return int(np.searchsorted(self.values, np.float32(threshold)))

    def levels(self, scores: npt.NDArray[np.float32]) -> Unsigned:
        """Return how many thresholds lie below each score: (H, W) float32 without NaN to (H, W)."""
        if not self._separate:
            return np.searchsorted(self.values, scores).astype(self.level_type)
        bucket = self._bucket(scores)
        level: Unsigned = take(self._before, bucket)
        level += scores > take(self._inside, bucket)
        return level

    def _bucket(self, scores: npt.NDArray[np.float32]) -> Unsigned:
        with np.errstate(over="ignore"):  # infinity is beyond the table, as the exact result would be
            place = scores - self.values[0]
            place *= self._scale
        np.clip(place, 0, self._last, out=place)
        return place.astype(np.uint8 if self._last < 1 << 8 else np.uint16)


def take(table: npt.NDArray[Any], index: Unsigned) -> npt.NDArray[Any]:
    """Return `table[index]` for an index (H, W) that stays within the table."""
    if index.dtype == np.uint8 and table.dtype != np.int64:
        return cv2.LUT(np.ascontiguousarray(index), table)  # four times as fast
    return table[index]


@dataclass(frozen=True)
class LevelMap:
    """Class maps of an image, reduced to what thresholds need.

    Attributes:
        labels: (K,) int64, labels of the maps (class index + 1).
        winner: (H, W) uint8, index of the best map, the lower one at a tie.
        level: (H, W), number of thresholds below the best score; 0 where K is 0.
        thresholds: their number T.
    """

    labels: npt.NDArray[np.int64]
    winner: Mask
    level: Unsigned
    thresholds: int


def best_threshold(mean_iou: npt.NDArray[np.floating], stop_at_drop: bool = False) -> int:
    """Position of the best mIoU of a sweep, the lowest one at a tie.

    Args:
        mean_iou: (T,) by ascending threshold; NaN counts as worse than any number.
        stop_at_drop: look no further than the first threshold that does not improve (spec `semples`, section
            8); on a curve with one peak it is the same.
    """
    values = np.where(np.isnan(mean_iou), -np.inf, mean_iou)
    if stop_at_drop:
        drops = np.flatnonzero(values[1:] <= values[:-1])
        return int(drops[0]) if len(drops) else len(values) - 1
    return int(values.argmax())


def level_map(
    keys: npt.NDArray[np.integer], maps: npt.NDArray[np.float32], thresholds: Thresholds, num_classes: int
) -> LevelMap:
    """Reduce the class maps of an image.

    Args:
        keys: (K,) class indices without background; K may be 0.
        maps: (K, H, W) float32.
        thresholds: T background scores.
        num_classes: number of classes, background included.

    Raises:
        ValueError: keys do not fit the maps or the classes, or the maps hold NaN.
    """
    if maps.ndim != 3 or len(maps) != len(keys):
        raise ValueError(f"there are scores {maps.shape} for {len(keys)} classes")
    unfit = len(keys) and not 0 <= min(keys) <= max(keys) < num_classes - 1
    if unfit or len(set(keys.tolist())) < len(keys):
        raise ValueError(f"the keys {keys.tolist()} do not fit {num_classes} classes, background included")
    winner = np.zeros(maps.shape[1:], np.uint8)
    level = np.zeros(maps.shape[1:], thresholds.level_type)
    for top in range(0, len(winner) if len(keys) else 0, _STRIP):
        strip = slice(top, top + _STRIP)
        best = np.asarray(maps[0, strip], np.float32)
        for index, scores in enumerate(maps[1:, strip], start=1):
            # Faster than an assignment: a later map has a higher index.
            np.maximum(winner[strip], (scores > best) * np.uint8(index), out=winner[strip])
            best = np.maximum(best, scores)
        if np.isnan(best.max()):  # both maxima hand NaN on
            raise ValueError("the scores hold NaN, so the network diverged; train it with a lower lr")
        level[strip] = thresholds.levels(best)
    return LevelMap(np.asarray(keys, np.int64) + 1, winner, level, len(thresholds))


def count_levels(found: LevelMap, truth: Mask, num_classes: int) -> ImageCounts:
    """Count an image at all thresholds.

    Args:
        found: its reduced class maps.
        truth: (H, W) uint8 labels; 255 is not counted.
        num_classes: number of classes, background included.

    Raises:
        ValueError: the sizes differ, or the ground truth holds a label that is no class.
    """
    if truth.shape != found.winner.shape:
        raise ValueError(f"the scores are {found.winner.shape}, the ground truth is {truth.shape}")
    (histogram,) = level_histograms(found, truth, [found.level], num_classes)
    if histogram[num_classes].any():
        wrong = truth[(truth >= num_classes) & (truth != VOID)].max()
        raise ValueError(f"the ground truth holds label {wrong}, but there are {num_classes} classes")
    background = histogram.cumsum(-1)[..., :-1]
    foreground = histogram.sum(-1, keepdims=True) - background
    return image_counts(found, histogram[:num_classes].sum((1, 2)), foreground, background)


def level_histograms(
    found: LevelMap, truth: Mask, levels: Sequence[Unsigned], num_classes: int
) -> list[Counts]:
    """Count pixels by ground truth, best class and level, for several kinds of levels from 0 to T.

    Args:
        found: the image's reduced class maps.
        truth: (H, W) uint8 labels; 255 is left out, every other label that is no class counts as OTHER.
        levels: (H, W) each.
        num_classes: number of classes C, background included.

    Returns:
        (C + 1, K, T + 1) int64 each, K at least 1; OTHER is the last in the first axis.
    """
    sizes = (num_classes + 1, max(len(found.labels), 1), found.thresholds + 1)
    slot = np.full(256, num_classes, np.uint8)
    slot[:num_classes] = np.arange(num_classes)
    slot[VOID] = VOID  # outside of the histogram
    slots = take(slot, truth)
    return [_histogram(slots, found.winner, level, sizes) for level in levels]


def _histogram(slots: Mask, winner: Mask, level: Unsigned, sizes: tuple[int, int, int]) -> Counts:
    """Count the combinations of three values per pixel; pixels that are beyond `sizes` are left out."""
    if level.dtype == np.uint8 and level.size < _EXACT_IN_FLOAT32:
        # Twice as fast as bincount, but it counts in float32.
        axes = [axis for axis in range(3) if sizes[axis] > 1]
        maps = [(slots, winner, level)[axis] for axis in axes]
        limits = [limit for axis in axes for limit in (0, sizes[axis])]
        counts = cv2.calcHist(maps, list(range(len(axes))), None, [sizes[axis] for axis in axes], limits)
        return np.asarray(counts).reshape(sizes).astype(np.int64)
    counted = slots < sizes[0]
    place = (slots[counted].astype(np.int64) * sizes[1] + winner[counted]) * sizes[2] + level[counted]
    return np.bincount(place, minlength=math.prod(sizes)).reshape(sizes)


def image_counts(found: LevelMap, truth: Counts, foreground: Counts, background: Counts) -> ImageCounts:
    """Put together the counts of an image.

    Args:
        found: the image's reduced class maps.
        truth: (C,) pixels of each class in the ground truth.
        foreground: (C + 1, K, T) pixels by ground truth and best class that are predicted as that class.
        background: (C + 1, K, T) pixels by ground truth and best class that are predicted as background.
    """
    occurs = truth > 0
    occurs[0] = occurs[found.labels] = True
    labels = np.flatnonzero(occurs)
    predicted = np.zeros((len(labels), found.thresholds), np.int64)
    hit = np.zeros_like(predicted)
    predicted[0], hit[0] = background.sum((0, 1)), background[0].sum(0)
    if len(found.labels):
        rows = np.searchsorted(labels, found.labels)
        predicted[rows] = foreground.sum(0)
        hit[rows] = foreground[found.labels, np.arange(len(found.labels))]
    return ImageCounts(labels, truth[labels], predicted, hit)
