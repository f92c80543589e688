"""Bootstrap intervals: how much a number would move with other images of the same kind.

Images are drawn with replacement, as many as there are, a thousand times; every draw's mIoU comes from its
summed counts, and its best threshold is chosen anew. The interval is between the 2.5th and the 97.5th
percentile (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3). The draws are the
same for all evaluations of as many images, so that methods are compared on equal draws.
"""

from __future__ import annotations

import numpy as np

from harness.metrics.confusion import Floats
from harness.metrics.split_counts import SplitCounts

RESAMPLES = 1000
LEVEL = 0.95
_SEED = 0

Interval = tuple[float, float]


def resampled_mean_iou(counts: SplitCounts) -> Floats:
    """Return the mIoU of every draw at every threshold: (RESAMPLES, T).

    Counts of a draw are exact: products and sums stay below 2^53, so float64 holds them without rounding, in
    any order of summation.
    """
    groups, classes, thresholds = counts.hit.shape
    weights = _draws(groups)
    total = np.zeros((RESAMPLES, thresholds))
    defined = np.zeros((RESAMPLES, thresholds))
    for label in range(classes):
        rows = np.flatnonzero(counts.truth[:, label] | counts.predicted[:, label].any(-1))
        drawn = weights[:, rows]
        hit = drawn @ counts.hit[rows, label].astype(np.float64)
        predicted = drawn @ counts.predicted[rows, label].astype(np.float64)
        union = predicted + (drawn @ counts.truth[rows, label].astype(np.float64))[:, None] - hit
        occurs = union > 0
        total += np.divide(hit, union, out=np.zeros_like(hit), where=occurs)
        defined += occurs
    return np.divide(total, defined, out=np.full_like(total, np.nan), where=defined > 0)


def _draws(groups: int) -> Floats:
    """How often each group is in each draw: (RESAMPLES, groups)."""
    drawn = np.random.default_rng(_SEED).integers(groups, size=(RESAMPLES, groups))
    drawn += np.arange(RESAMPLES)[:, None] * groups
    times = np.bincount(drawn.ravel(), minlength=RESAMPLES * groups)
    return times.reshape(RESAMPLES, groups).astype(np.float64)


def percentile_interval(draws: Floats) -> Interval | None:
    """Return the central 95 % of draws (RESAMPLES,); None where some of them are undefined."""
    if np.isnan(draws).any():
        return None
    outside = 50 * (1 - LEVEL)
    low, high = np.percentile(draws, [outside, 100 - outside])
    return float(low), float(high)
