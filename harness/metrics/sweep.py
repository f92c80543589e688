"""All background thresholds of a CAM evaluation in one pass over each image.

At threshold b the prediction of a pixel is the arg-max over [b, class maps], ties to the lower channel (vwe
spec section 8, irn spec A.4): background where the pixel's best score is <= b, else its best class. So all
that matters of a pixel is its best class and how many thresholds lie below its best score. Both are counted
in one histogram over (ground truth, best class, number of thresholds), whose cumulative sums are the
confusion matrices of every threshold, bit for bit those of one evaluation per threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.errors import InputError
from harness.metrics.confusion import (
    VOID,
    Matrix,
    SegmentationMetrics,
    class_iou,
    mean_over_classes,
    segmentation_metrics,
)


@dataclass(frozen=True)
class SweepResult:
    """Outcome of a threshold sweep.

    Attributes:
        thresholds: the swept background scores, ascending.
        mean_iou: mIoU at each of them.
        best_threshold: where mIoU is highest (the lowest such threshold).
        best: all metrics there.
        fixed_threshold: the method's own threshold, chosen without looking at this split.
        fixed: all metrics there.
    """

    thresholds: tuple[float, ...]
    mean_iou: tuple[float, ...]
    best_threshold: float
    best: SegmentationMetrics
    fixed_threshold: float
    fixed: SegmentationMetrics


class ThresholdSweep:
    """Counts of a split for every threshold at once; counts of parts of a split add with `+`.

    Args:
        num_classes: number of classes, background included.
        thresholds: background scores to sweep, ascending.
        fixed: a threshold to report besides; it need not be among `thresholds`, and is never "the best".

    Raises:
        InputError: no thresholds, or they do not ascend.
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float], fixed: float) -> None:
        if not thresholds or any(low >= high for low, high in pairwise(thresholds)):
            raise InputError(f"the thresholds of a sweep must ascend, but they are {list(thresholds)}.")
        self.num_classes = num_classes
        self.thresholds = tuple(thresholds)
        self.fixed = fixed
        # Scores and thresholds compare in float32, the type that a threshold takes in the stack of maps.
        self._grid = np.unique(np.asarray([*thresholds, fixed], dtype=np.float32))
        self._counts = np.zeros((num_classes, num_classes, len(self._grid) + 1), dtype=np.int64)

    def add(
        self,
        keys: npt.NDArray[np.integer],
        scores: npt.NDArray[np.float32],
        ground_truth: npt.NDArray[np.integer],
    ) -> None:
        """Count one image.

        Args:
            keys: (K,) class indices without background, ascending; K may be 0.
            scores: (K, H, W) float32 class maps.
            ground_truth: (H, W); pixels that are 255 or negative are not counted.

        Raises:
            ValueError: shapes disagree, labels are out of range, or the scores hold NaN.
        """
        if scores.shape != (len(keys), *ground_truth.shape):
            raise ValueError(
                f"the scores of {len(keys)} classes are {scores.shape}, it is {ground_truth.shape}"
            )
        classes, bins = self.num_classes, len(self._grid) + 1
        counted = (ground_truth >= 0) & (ground_truth != VOID)
        truth = ground_truth[counted].astype(np.int64)
        if truth.max(initial=0) >= classes:
            raise ValueError(f"the ground truth holds label {truth.max()}, but there are {classes} classes")
        if not len(keys):
            self._counts[:, 0, 0] += np.bincount(truth, minlength=classes)
            return
        if not 0 <= min(keys) <= max(keys) < classes - 1:
            raise ValueError(f"the keys {list(keys)} do not fit {classes} classes, background included")
        winner, best = _best_class(scores[:, counted])
        if np.isnan(best).any():
            raise ValueError("the scores hold NaN, so the network diverged; train it with a lower lr")
        below = np.searchsorted(self._grid, best, side="left")
        code = (truth * len(keys) + winner) * bins + below
        local = np.bincount(code, minlength=classes * len(keys) * bins)
        self._counts[:, np.asarray(keys) + 1] += local.reshape(classes, len(keys), bins)

    def __add__(self, other: ThresholdSweep) -> ThresholdSweep:
        mine = (self.num_classes, self.thresholds, self.fixed)
        if mine != (other.num_classes, other.thresholds, other.fixed):
            raise ValueError("only sweeps over the same classes and thresholds can be added")
        total = ThresholdSweep(*mine)
        total._counts = self._counts + other._counts
        return total

    def matrices(self, thresholds: Sequence[float]) -> Matrix:
        """Confusion matrices (T, C, C) at thresholds of this sweep.

        Raises:
            ValueError: a threshold is not among those counted.
        """
        wanted = np.asarray(thresholds, dtype=np.float32)
        if not np.isin(wanted, self._grid).all():
            raise ValueError(f"thresholds {list(thresholds)} were not counted")
        positions = np.searchsorted(self._grid, wanted)
        up_to = self._counts.cumsum(-1)
        background = up_to[..., positions]
        matrix = up_to[..., -1:] - background
        matrix[:, 0] += background.sum(1)
        return np.moveaxis(matrix, -1, 0)

    def result(self) -> SweepResult:
        """Metrics of what was counted so far."""
        mean_iou = mean_over_classes(class_iou(self.matrices(self.thresholds)))
        best = self.thresholds[int(np.argmax(mean_iou))]
        at_best, at_fixed = self.matrices([best, self.fixed])
        return SweepResult(
            thresholds=self.thresholds,
            mean_iou=tuple(mean_iou.tolist()),
            best_threshold=best,
            best=segmentation_metrics(at_best),
            fixed_threshold=self.fixed,
            fixed=segmentation_metrics(at_fixed),
        )


def _best_class(
    scores: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Index of the highest of K maps (K, ...) per pixel (ties to the lower one) and its value."""
    winner = np.zeros(scores.shape[1:], dtype=np.intp)
    best = scores[0].astype(np.float32)
    for index, score in enumerate(scores[1:], start=1):
        winner[score > best] = index
        best = np.maximum(best, score)
    return winner, best
