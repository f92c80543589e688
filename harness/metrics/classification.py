"""How well image-level classes are told, image by image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.metrics.confusion import Floats


def f1_per_image(labels: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> Floats:
    """F1 = 2 TP / (2 TP + FP + FN) of each image's classes (mcc spec 7).

    Args:
        labels, predicted: (N, C) bool.

    Returns:
        (N,); 0 where there is neither a class nor a prediction.
    """
    hit = (labels & predicted).sum(1)
    both = labels.sum(1) + predicted.sum(1)
    return np.divide(2 * hit, both, out=np.zeros(len(both)), where=both > 0)


def average_precision_per_image(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> Floats:
    """Average precision of the ranking of each image's classes (semples spec 5).

    The mean, over the classes of an image, of the precision among all classes with at least their score.

    Args:
        labels: (N, C) bool.
        scores: (N, C).

    Returns:
        (M,), the M images that have a class.
    """
    found = []
    for present, score in zip(labels, scores, strict=True):
        if present.any():
            not_below = score[None] >= score[present][:, None]  # (positives, C)
            found.append(float((not_below[:, present].sum(1) / not_below.sum(1)).mean()))
    return np.array(found)
