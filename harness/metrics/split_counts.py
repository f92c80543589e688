"""Counts of a whole split: per class, per threshold, and per image as far as memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.metrics.confusion import ClassCounts, Counts

_MAX_COUNTS = 1 << 24  # int64 numbers of a split, 128 MiB


@dataclass(frozen=True)
class ImageCounts:
    """Pixels of one image, for the n classes that occur in its ground truth or may be predicted.

    Attributes:
        labels: (n,) int64, different labels.
        truth: (n,) int64, pixels of the class in the ground truth.
        predicted: (n, T) int64, pixels that are predicted to be of the class, at each of T thresholds.
        hit: (n, T) int64, pixels that are both.
    """

    labels: npt.NDArray[np.int64]
    truth: Counts
    predicted: Counts
    hit: Counts

    @classmethod
    def of(cls, matrix: Counts) -> ImageCounts:
        """Counts of a confusion matrix (C, C), as if at one threshold."""
        counts = ClassCounts.of(matrix)
        labels = np.flatnonzero(counts.union)
        return cls(labels, counts.truth[labels], counts.predicted[labels, None], counts.hit[labels, None])


@dataclass(frozen=True)
class BatchCounts:
    """`ImageCounts` of some images in one piece, as it travels between processes.

    Attributes:
        image: (n,) int64, which image of the split a row is of.
        rows: the counts of all images, one behind the other.
    """

    image: npt.NDArray[np.int64]
    rows: ImageCounts

    @classmethod
    def of(cls, images: Sequence[int], counts: Sequence[ImageCounts]) -> BatchCounts:
        """Join the counts of images at these positions of the split."""
        return cls(
            np.repeat(np.asarray(images, np.int64), [len(found.labels) for found in counts]),
            ImageCounts(
                np.concatenate([found.labels for found in counts]),
                np.concatenate([found.truth for found in counts]),
                np.concatenate([found.predicted for found in counts]),
                np.concatenate([found.hit for found in counts]),
            ),
        )


class SplitCounts:
    """Counts of a split. The order in which images come does not matter.

    Images are kept apart, since the bootstrap draws them. Where that would take more than 128 MiB (VOC at 60
    thresholds: 6,600 images), image i goes into group i modulo the number of groups, and groups are drawn.

    Args:
        images: number of images.
        num_classes: number of classes, background included.
        thresholds: number of thresholds.
        groups: at most this many groups; default: as many as fit.
    """

    def __init__(self, images: int, num_classes: int, thresholds: int, groups: int | None = None) -> None:
        fit = _MAX_COUNTS // (num_classes * (2 * thresholds + 1))
        self.groups = max(1, min(images, fit if groups is None else groups))
        self.truth = np.zeros((self.groups, num_classes), np.int64)
        self.predicted = np.zeros((self.groups, num_classes, thresholds), np.int64)
        self.hit = np.zeros((self.groups, num_classes, thresholds), np.int64)

    def add(self, batch: BatchCounts) -> None:
        """Add the counts of some images."""
        place = (batch.image % self.groups, batch.rows.labels)
        np.add.at(self.truth, place, batch.rows.truth)
        np.add.at(self.predicted, place, batch.rows.predicted)
        np.add.at(self.hit, place, batch.rows.hit)

    def merge(self, other: SplitCounts) -> None:
        """Add the counts of other images of the same split."""
        self.truth += other.truth
        self.predicted += other.predicted
        self.hit += other.hit

    def total(self) -> ClassCounts:
        """Counts of the split at every threshold: (T, C)."""
        predicted, hit = self.predicted.sum(0).T, self.hit.sum(0).T
        return ClassCounts(np.broadcast_to(self.truth.sum(0), hit.shape), predicted, hit)
