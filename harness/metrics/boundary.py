"""Boundary IoU: how well the outlines of classes fit, whatever their size.

Source: Cheng, Girshick, Dollar, Berg, Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation", CVPR 2021. A class's boundary region holds its pixels within d of a pixel that is not of the
class, by the chessboard distance; what lies outside of the image is not of the class; d is 2 % of the image's
diagonal. Boundary IoU compares the boundary regions of ground truth and prediction as IoU compares the whole.

The paper has no void pixels. Here they are taken out of both maps: they are not counted, and they make no
boundary, neither of the ground truth nor of the prediction. So a prediction that is right on all other pixels
has boundary IoU 1, and VOC's void rims move the boundary of both maps in the same way.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from harness.metrics.confusion import VOID, confusion_matrix
from harness.metrics.split_counts import ImageCounts
from harness.metrics.sweep import OTHER, LevelMap, Mask, Unsigned, image_counts, level_histograms

Region = npt.NDArray[np.bool_]

DILATION_RATIO = 0.02


def boundary_width(height: int, width: int) -> int:
    """Return d in pixels: 2 % of the image's diagonal, at least 1."""
    return max(1, round(DILATION_RATIO * math.hypot(height, width)))


def boundary_region(labels: Mask, void: Region) -> Region:
    """Mark the pixels that are in the boundary region of their class.

    Args:
        labels: (H, W) uint8.
        void: (H, W) bool, pixels that are taken out; the result means nothing there.
    """
    least, greatest = _extremes(labels, void)
    region = least != greatest
    _set_rim(region, True)
    return region


def _extremes(values: Unsigned, void: Region) -> tuple[Unsigned, Unsigned]:
    """Least and greatest value within d of each pixel, (H, W) each, void pixels left out."""
    side = 2 * boundary_width(*values.shape) + 1
    window = np.ones((side, side), np.uint8)
    filler = np.multiply(void, np.iinfo(values.dtype).max, dtype=values.dtype)
    least = cv2.erode(values | filler, window)
    greatest = cv2.dilate(values & ~filler, window)
    return np.asarray(least, values.dtype), np.asarray(greatest, values.dtype)


def _set_rim(values: Unsigned | Region, value: int) -> None:
    """Set the pixels from which what is outside of the image lies within d."""
    width = boundary_width(*values.shape)
    for rim in (values[:width], values[-width:], values[:, :width], values[:, -width:]):
        rim[...] = value


def count_boundary(prediction: Mask, truth: Mask, num_classes: int) -> ImageCounts:
    """Count pixels of boundary regions: `truth` and `predicted` of one's own region, `hit` of both.

    Args:
        prediction, truth: (H, W) uint8 labels, as `confusion_matrix` takes them.
        num_classes: number of classes, background included.
    """
    void = truth == VOID
    decided = prediction * (prediction != VOID)
    # One more class, in the place of background: pixels outside of boundary regions.
    true, found = ((labels + np.uint8(1)) * boundary_region(labels, void) for labels in (truth, decided))
    true[void] = VOID
    counts = ImageCounts.of(confusion_matrix(true, found, num_classes + 1))
    inside = counts.labels > 0
    return ImageCounts(
        counts.labels[inside] - 1, counts.truth[inside], counts.predicted[inside], counts.hit[inside]
    )


def count_boundary_levels(found: LevelMap, truth: Mask, num_classes: int) -> ImageCounts:
    """Count pixels of boundary regions at all thresholds of a sweep at once.

    A pixel of level l has its best class at the thresholds before l and is background from l on. All pixels
    within d of it are background from the greatest level among them on, and all have the best class of the
    pixel before the least, if it is the best class of all of them. So a pixel belongs to the boundary region
    of its class from the least level to l, or from the first threshold if best classes differ, and to that of
    background from l to the greatest level.

    Args:
        found: the image's reduced class maps.
        truth: (H, W) uint8 labels; 255 is not counted.
        num_classes: number of classes, background included.
    """
    void = truth == VOID
    least, greatest = _extremes(found.level, void)
    # Void pixels among void pixels only have no extremes; theirs do not count, but must be levels.
    enter, leave = np.minimum(least, found.level), np.maximum(greatest, found.level)
    if len(found.labels) > 1:
        enter *= ~boundary_region(found.winner, void)
    _set_rim(enter, 0)
    _set_rim(leave, found.thresholds)
    marked = np.maximum(truth, ~boundary_region(truth, void) * np.uint8(OTHER))  # void pixels stay 255
    entered, changed, left = level_histograms(found, marked, [enter, found.level, leave], num_classes)
    region = changed[:num_classes].sum((1, 2))
    entered, changed, left = (histogram.cumsum(-1)[..., :-1] for histogram in (entered, changed, left))
    return image_counts(found, region, entered - changed, changed - left)
