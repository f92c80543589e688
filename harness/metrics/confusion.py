"""Confusion matrices and what follows from them.

A confusion matrix is a (C, C) int64 array, rows ground truth, columns prediction. It is exact, and the
matrices of parts of a split add up to the split's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

VOID = 255


def confusion_matrix(
    ground_truth: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], num_classes: int
) -> Matrix:
    """Count pixels by ground truth and prediction.

    Args:
        ground_truth: label map; pixels that are 255 or negative are not counted.
        prediction: label map of the same shape; 255 (undecided) counts as background (irn spec B.8).
        num_classes: number of classes, background included.

    Returns:
        (num_classes, num_classes) int64.

    Raises:
        ValueError: the shapes differ, or a counted label is not below `num_classes`.
    """
    if ground_truth.shape != prediction.shape:
        raise ValueError(f"ground truth is {ground_truth.shape}, prediction {prediction.shape}")
    truth = ground_truth.astype(np.int64).ravel()
    predicted = prediction.astype(np.int64).ravel()
    predicted[predicted == VOID] = 0
    counted = (truth >= 0) & (truth != VOID)
    truth, predicted = truth[counted], predicted[counted]
    for what, labels in (("ground truth", truth), ("prediction", predicted)):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            wrong = labels[(labels < 0) | (labels >= num_classes)][0]
            raise ValueError(f"the {what} holds label {wrong}, but there are {num_classes} classes")
    counts = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def _ratio(numerator: npt.NDArray[np.integer], denominator: npt.NDArray[np.integer]) -> Floats:
    """Quotient per class, NaN where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def class_iou(matrix: Matrix) -> Floats:
    """IoU = TP / (TP + FP + FN) per class: (..., C, C) to (..., C); NaN for absent classes."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _ratio(hit, matrix.sum(-1) + matrix.sum(-2) - hit)


def class_accuracy(matrix: Matrix) -> Floats:
    """TP / (TP + FN) per class: (..., C, C) to (..., C); NaN for classes without ground truth."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1))


def pixel_accuracy(matrix: Matrix) -> Floats:
    """Part of the counted pixels that is right: (..., C, C) to (...); NaN if no pixel was counted."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def mean_over_classes(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is defined."""
    defined = ~np.isnan(values)
    count = defined.sum(-1)
    total = np.where(defined, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


@dataclass(frozen=True)
class FalseRates:
    """Wrong pixels as a part of the union of ground truth and prediction (irn spec B.8).

    Attributes:
        background_fp, background_fn: false positive and false negative rate of background.
        foreground_fp, foreground_fn: their means over the other classes.
    """

    background_fp: float
    background_fn: float
    foreground_fp: float
    foreground_fn: float


def false_rates(matrix: Matrix) -> FalseRates:
    """FP rate 1 - ground truth / union and FN rate 1 - prediction / union."""
    truth, predicted = matrix.sum(1), matrix.sum(0)
    union = truth + predicted - np.diagonal(matrix)
    fp, fn = 1 - _ratio(truth, union), 1 - _ratio(predicted, union)
    return FalseRates(
        float(fp[0]), float(fn[0]), float(mean_over_classes(fp[1:])), float(mean_over_classes(fn[1:]))
    )


@dataclass(frozen=True)
class SegmentationMetrics:
    """Segmentation quality over a split. All values are fractions of 1.

    Attributes:
        mean_iou: mean of `iou` over the classes that occur.
        iou: per class, NaN for the absent ones.
        pixel_accuracy, mean_accuracy: of pixels, and the mean over classes with ground truth.
        absent: classes that occur neither in ground truth nor in prediction; they are not in the mean.
        false_rates: false positive and negative rates.
    """

    mean_iou: float
    iou: tuple[float, ...]
    pixel_accuracy: float
    mean_accuracy: float
    absent: tuple[int, ...]
    false_rates: FalseRates


def segmentation_metrics(matrix: Matrix) -> SegmentationMetrics:
    """All metrics of one confusion matrix."""
    iou = class_iou(matrix)
    return SegmentationMetrics(
        mean_iou=float(mean_over_classes(iou)),
        iou=tuple(iou.tolist()),
        pixel_accuracy=float(pixel_accuracy(matrix)),
        mean_accuracy=float(mean_over_classes(class_accuracy(matrix))),
        absent=tuple(np.flatnonzero(np.isnan(iou)).tolist()),
        false_rates=false_rates(matrix),
    )
