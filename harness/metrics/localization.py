"""Weakly supervised object localisation: boxes from score maps, box accuracies, PxAP.

Source: Choe, Oh, Lee, Chun, Akata, Shim, "Evaluating Weakly Supervised Object Localization Methods Right",
CVPR 2020, as its public evaluation code has it (spec `rtc`, section 14). Boxes are (x0, y0, x1, y1) in whole
pixels, both ends included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 224
"""Maps and boxes are compared at this size, whatever the image's."""

IOU_LEVELS = (0.3, 0.5, 0.7)
GT_KNOWN = 0.5
"""The IoU of MaxBoxAcc, GT-known, Top-1 and Top-5 Loc."""

Boxes = NDArray[np.int64]
Floats = NDArray[np.float64]


def normalise_map(scores: NDArray[np.floating]) -> Floats:
    """Shift the minimum of a map (H, W) to 0 and divide by the maximum; constant or NaN maps become 0."""
    plain = np.asarray(scores, np.float64)
    shifted = plain - plain.min()
    top = shifted.max()
    return shifted / top if top > 0 else np.zeros_like(shifted)


def score_map(scores: NDArray[np.floating], side: int = SIDE) -> Floats:
    """A class map (h, w) of a network, cubic to (side, side), normalised to [0, 1]."""
    # NaN anywhere spreads over the whole map by the interpolation, and counts as no answer.
    large = cv2.resize(np.asarray(scores, np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return normalise_map(np.asarray(large, np.float64))


def resize_boxes(boxes: Boxes, size: tuple[int, int], side: int = SIDE) -> Boxes:
    """Boxes (N, 4) of an image of `size` (H, W) at (side, side), cut to whole pixels."""
    height, width = size
    factors = np.array([side / width, side / height, side / width, side / height])
    return np.trunc(boxes * factors).astype(np.int64)


def box_iou(a: NDArray[np.integer], b: NDArray[np.integer]) -> Floats:
    """IoU of every box in a (N, 4) with every one in b (M, 4): (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low + 1, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(-1) for boxes in (a, b)]
    either = areas[0][:, None] + areas[1][None] - common
    return np.divide(common, either, out=np.zeros(either.shape), where=either != 0)


def boxes_at_level(pixels: NDArray[np.uint8], level: int, *, multiple: bool) -> Boxes:
    """Boxes (N, 4) around what is above a level, each one pixel larger than tight where the map has room.

    Args:
        pixels: (H, W) map in 0 to 255.
        level: pixels have to exceed it.
        multiple: a box per contour, holes' too; otherwise that of the largest polygon, the first of equals.

    Returns:
        One box (0, 0, 0, 0) where nothing is.
    """
    above = np.asarray(pixels > level, np.uint8)
    contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), np.int64)
    if not multiple:
        contours = [max(contours, key=cv2.contourArea)]
    x, y, width, height = np.array([cv2.boundingRect(contour) for contour in contours]).T
    rows, columns = pixels.shape
    return np.stack([x, y, np.minimum(x + width, columns - 1), np.minimum(y + height, rows - 1)], axis=1)


def _levels(scores: Floats, thresholds: Sequence[float]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A map in 0 to 255, and per threshold the level that stands for it.

    Levels between two values of the map see the same pixels, so that the lowest of them stands for all.
    """
    pixels = np.floor(255 * scores).astype(np.uint8)
    top = int(pixels.max())
    levels = np.array([int(threshold * top) for threshold in thresholds], np.int64)
    there = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    place = np.searchsorted(there, levels, side="right") - 1
    return pixels, np.where(place < 0, -1, there[np.maximum(place, 0)])


def boxes_of_map(scores: Floats, thresholds: Sequence[float], *, multiple: bool) -> list[Boxes]:
    """Boxes of a map (H, W) in [0, 1] at each threshold, parts of the map's maximum."""
    pixels, levels = _levels(scores, thresholds)
    made = {level: boxes_at_level(pixels, level, multiple=multiple) for level in set(levels.tolist())}
    return [made[level] for level in levels.tolist()]


def best_iou(scores: Floats, truth: Boxes, thresholds: Sequence[float], *, multiple: bool) -> Floats:
    """The highest IoU of any box of a map with any box of the truth, at each threshold: (T,)."""
    pixels, levels = _levels(scores, thresholds)
    distinct, place = np.unique(levels, return_inverse=True)
    best = [box_iou(boxes_at_level(pixels, int(v), multiple=multiple), truth).max() for v in distinct]
    return np.asarray(best, np.float64)[place]


@dataclass(frozen=True)
class Localized:
    """What is known of one image at each threshold.

    Attributes:
        single: (T,) best IoU of the box of the largest contour.
        multiple: (T,) best IoU of the boxes of all contours.
        rank: of the image's class among all by their scores, 0 for the highest; None where none were given.
        pixels: `pixel_counts`; None where there is no mask.
    """

    single: Floats
    multiple: Floats
    rank: int | None = None
    pixels: NDArray[np.int64] | None = None

    def at(self, columns: Sequence[int]) -> Localized:
        """The same at some of the thresholds."""
        return replace(self, single=self.single[list(columns)], multiple=self.multiple[list(columns)])


@dataclass(frozen=True)
class LocalizationMetrics:
    """Fractions of the images, at the best of the thresholds; of equals the first one.

    Attributes:
        threshold: where GT-known Loc is highest; what has but one threshold is at this one.
        max_box_acc: IoU 0.5, largest contour: GT-known Loc.
        max_box_acc_v2: mean over IoU 0.3, 0.5 and 0.7 of the best accuracy, all contours.
        levels: the three of `max_box_acc_v2`, by IoU.
        hits: (N,) which images GT-known Loc counts.
        top1_loc, top5_loc: of these, with the class among the best one or five; None without class scores.
        top1, top5: the classes alone.
    """

    threshold: float
    max_box_acc: float
    max_box_acc_v2: float
    levels: dict[float, float]
    hits: NDArray[np.bool_]
    top1_loc: float | None
    top5_loc: float | None
    top1: float | None
    top5: float | None


def box_accuracy(ious: Floats, level: float) -> Floats:
    """Part of the images (N, T) whose IoU reaches a level, at each threshold: (T,)."""
    return np.asarray((ious >= level).mean(0), np.float64)


def localization_metrics(images: Sequence[Localized], thresholds: Sequence[float]) -> LocalizationMetrics:
    """Sum up images over their thresholds."""
    single = np.stack([image.single for image in images])
    multiple = np.stack([image.multiple for image in images])
    accuracy = box_accuracy(single, GT_KNOWN)
    chosen = int(accuracy.argmax())
    levels = {level: float(box_accuracy(multiple, level).max()) for level in IOU_LEVELS}
    hits = single[:, chosen] >= GT_KNOWN
    ranks = [image.rank for image in images if image.rank is not None]
    told = np.array(ranks) if len(ranks) == len(images) else None
    among = {best: None if told is None else told < best for best in (1, 5)}
    return LocalizationMetrics(
        threshold=float(thresholds[chosen]),
        max_box_acc=float(accuracy[chosen]),
        max_box_acc_v2=float(np.mean(list(levels.values()))),
        levels=levels,
        hits=hits,
        top1_loc=None if among[1] is None else float((among[1] & hits).mean()),
        top5_loc=None if among[5] is None else float((among[5] & hits).mean()),
        top1=None if among[1] is None else float(among[1].mean()),
        top5=None if among[5] is None else float(among[5].mean()),
    )


BINS = 1000
"""Of the histograms that PxAP is made from."""


def pixel_counts(scores: Floats, mask: NDArray[np.uint8], label: int) -> NDArray[np.int64]:
    """How many pixels of a class, and how many others, have each score: (2, BINS + 1).

    Args:
        scores: (H, W) in [0, 1].
        mask: (H, W) labels at the same size; 255 is ignored.
        label: of the class in the mask.
    """
    level = np.minimum((scores * BINS).astype(np.int64), BINS)
    parts = (mask == label, (mask != label) & (mask != 255))
    return np.stack([np.bincount(level[part], minlength=BINS + 1) for part in parts])


def pixel_average_precision(counts: NDArray[np.int64]) -> float | None:
    """PxAP: the area under precision over recall of pixels; None if no pixel is of an object.

    Args:
        counts: (2, BINS + 1), the sum of `pixel_counts` over the images.
    """
    right, wrong = counts[:, ::-1].cumsum(1)  # pixels at or above each score, from the highest
    if not right[-1]:
        return None
    seen = right + wrong
    precision = np.divide(right, seen, out=np.ones(len(seen)), where=seen > 0)
    return float((precision * np.diff(right / right[-1], prepend=0)).sum())
