"""Pixels counted per class, and what follows from them.

All numbers of a split derive from three exact counts per class: pixels of the class in the ground truth, in
the prediction, and in both. They add up over images, and a confusion matrix holds them as its margins and its
diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

VOID = 255


def confusion_matrix(
    ground_truth: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], num_classes: int
) -> Counts:
    """Count pixels by ground truth and prediction.

    Args:
        ground_truth: label map; pixels that are 255 or negative are not counted.
        prediction: label map of the same shape; 255 (undecided) counts as background (irn spec B.8).
        num_classes: number of classes, background included.

    Returns:
        (num_classes, num_classes) int64, rows ground truth, columns prediction.

    Raises:
        ValueError: the shapes differ, or a counted label is not below `num_classes`.
    """
    if ground_truth.shape != prediction.shape:
        raise ValueError(f"ground truth is {ground_truth.shape}, prediction {prediction.shape}")
    if ground_truth.dtype.kind == "i":
        ground_truth = np.where(ground_truth < 0, VOID, ground_truth)
    truth = _in_a_byte(ground_truth, "ground truth", num_classes)
    predicted = _in_a_byte(prediction, "prediction", num_classes)
    pairs = np.bincount((truth.astype(np.uint16) * 256 + predicted).ravel(), minlength=256 * 256)
    counts = pairs.astype(np.int64).reshape(256, 256)[:VOID]
    counts[:, 0] += counts[:, VOID]
    counts = counts[:, :VOID]
    for what, found in (("ground truth", counts.sum(1)), ("prediction", counts.sum(0))):
        if found[num_classes:].any():
            wrong = num_classes + int(np.flatnonzero(found[num_classes:])[0])
            raise ValueError(f"the {what} holds label {wrong}, but there are {num_classes} classes")
    return counts[:num_classes, :num_classes]


def _in_a_byte(labels: npt.NDArray[np.integer], what: str, num_classes: int) -> npt.NDArray[np.uint8]:
    wrong = labels[(labels < 0) | (labels > VOID)] if labels.dtype != np.uint8 else labels[:0]
    if wrong.size:
        raise ValueError(f"the {what} holds label {wrong[0]}, but there are {num_classes} classes")
    return labels.astype(np.uint8, copy=False)


def _ratio(numerator: Counts, denominator: Counts) -> Floats:
    """Quotient per class, NaN where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


@dataclass(frozen=True)
class ClassCounts:
    """Pixels per class. What derives from them has the same shape, NaN where a class does not occur.

    Attributes:
        truth: (..., C) int64, pixels of the class in the ground truth.
        predicted: (..., C) int64, pixels that are predicted to be of the class.
        hit: (..., C) int64, pixels that are both.
    """

    truth: Counts
    predicted: Counts
    hit: Counts

    @classmethod
    def of(cls, matrix: Counts) -> ClassCounts:
        """Counts from confusion matrices: (..., C, C) to (..., C)."""
        return cls(matrix.sum(-1), matrix.sum(-2), np.diagonal(matrix, axis1=-2, axis2=-1))

    def __getitem__(self, index: int) -> ClassCounts:
        """Counts at a place of the first axis, such as one threshold of many."""
        return ClassCounts(self.truth[index], self.predicted[index], self.hit[index])

    @property
    def union(self) -> Counts:
        """Pixels of the class in the ground truth or in the prediction."""
        return self.truth + self.predicted - self.hit

    @property
    def iou(self) -> Floats:
        """TP / (TP + FP + FN); NaN for classes in neither ground truth nor prediction."""
        return _ratio(self.hit, self.union)

    @property
    def precision(self) -> Floats:
        """TP / (TP + FP); NaN for classes that are never predicted."""
        return _ratio(self.hit, self.predicted)

    @property
    def recall(self) -> Floats:
        """TP / (TP + FN), also called the class accuracy; NaN for classes without ground truth."""
        return _ratio(self.hit, self.truth)

    @property
    def fp_rate(self) -> Floats:
        """FP / (TP + FP + FN), that is 1 - ground truth / union (irn spec B.8, semples spec 8)."""
        return _ratio(self.predicted - self.hit, self.union)

    @property
    def fn_rate(self) -> Floats:
        """FN / (TP + FP + FN), that is 1 - prediction / union; IoU, FP and FN rate add up to 1."""
        return _ratio(self.truth - self.hit, self.union)

    @property
    def pixel_accuracy(self) -> Floats:
        """Part of the counted pixels that is right: (...); NaN if no pixel was counted."""
        return _ratio(self.hit.sum(-1), self.truth.sum(-1))


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


@dataclass(frozen=True)
class SegmentationMetrics:
    """Segmentation quality over a split. All values are fractions of 1, NaN where undefined.

    Attributes:
        mean_iou: mean of `iou` over the classes that occur.
        iou, precision, recall: per class.
        pixel_accuracy, mean_accuracy: of pixels, and the mean over classes with ground truth.
        absent: classes that occur neither in ground truth nor in prediction; they are not in the mean.
        false_rates: false positive and negative rates.
    """

    mean_iou: float
    iou: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    pixel_accuracy: float
    mean_accuracy: float
    absent: tuple[int, ...]
    false_rates: FalseRates


def segmentation_metrics(counted: ClassCounts | Counts) -> SegmentationMetrics:
    """All metrics of the counts (C,) of a split, or of its confusion matrix (C, C)."""
    counts = counted if isinstance(counted, ClassCounts) else ClassCounts.of(counted)
    iou, recall, fp, fn = counts.iou, counts.recall, counts.fp_rate, counts.fn_rate
    return SegmentationMetrics(
        mean_iou=float(mean_over_classes(iou)),
        iou=tuple(iou.tolist()),
        precision=tuple(counts.precision.tolist()),
        recall=tuple(recall.tolist()),
        pixel_accuracy=float(counts.pixel_accuracy),
        mean_accuracy=float(mean_over_classes(recall)),
        absent=tuple(np.flatnonzero(np.isnan(iou)).tolist()),
        false_rates=FalseRates(
            background_fp=float(fp[0]),
            background_fn=float(fn[0]),
            foreground_fp=float(mean_over_classes(fp[1:])),
            foreground_fn=float(mean_over_classes(fn[1:])),
        ),
    )
