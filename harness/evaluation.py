"""The evaluation of predictions, whoever made them: counting in parallel, then the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.metrics.bootstrap import Interval, percentile_interval, resampled_mean_iou
from harness.metrics.boundary import count_boundary, count_boundary_levels
from harness.metrics.confusion import (
    ClassCounts,
    confusion_matrix,
    mean_over_classes,
    segmentation_metrics,
)
from harness.metrics.split_counts import BatchCounts, ImageCounts, SplitCounts
from harness.metrics.sweep import Thresholds, best_threshold, count_levels, level_map
from harness.prediction_source import GroundTruth, Source
from harness.processes import map_unordered
from harness.report import Protocol, Quality
from harness.schema import Sweep

_CHUNK = 16  # images per task: their counts travel between processes in one piece
_MAX_THRESHOLDS = 1000  # counts of an image take memory for each
_worker: dict[str, Evaluation] = {}

Curve = dict[str, list[float | None]]


def thresholds(sweep: Sweep | None) -> list[float]:
    """The grid of a sweep, both ends included, free of accumulated rounding.

    Raises:
        InputError: it has more than a thousand thresholds.
    """
    if sweep is None:
        return []
    steps = round((sweep.stop - sweep.start) / sweep.step)
    if steps >= _MAX_THRESHOLDS:
        raise InputError(
            f"a sweep from {sweep.start:g} to {sweep.stop:g} by {sweep.step:g} has {steps + 1} thresholds, "
            f"more than {_MAX_THRESHOLDS}: take larger steps"
        )
    return [round(sweep.start + index * sweep.step, 10) for index in range(steps + 1)]


@dataclass(frozen=True)
class Evaluation:
    """What is compared, and how.

    Attributes:
        ids: images of the split.
        source: their predictions.
        truth: their ground truth.
        sweep: background thresholds for CAMs, ascending.
        fixed: a threshold to report besides, chosen beforehand; it need not be in the sweep.
        boundary: whether boundary regions are counted, too.
        stop_at_drop: see `best_threshold`.
    """

    ids: Sequence[str]
    source: Source
    truth: GroundTruth
    sweep: Sequence[float] = ()
    fixed: float | None = None
    boundary: bool = True
    stop_at_drop: bool = False

    @cached_property
    def thresholds(self) -> Thresholds | None:
        """All thresholds; None where there are none, as for label maps."""
        values = [*self.sweep, *([] if self.fixed is None else [self.fixed])]
        return Thresholds(values) if values else None


@dataclass(frozen=True)
class Tally:
    """Counts of all pixels of a split, and of those in boundary regions."""

    whole: SplitCounts
    boundary: SplitCounts | None


def count(evaluation: Evaluation, workers: int, progress: Callable[[int], None]) -> Tally:
    """Count every image once, for all thresholds.

    Args:
        workers: processes.
        progress: told how many more images are done.

    Raises:
        InputError: an image has no prediction, or one that does not fit its ground truth, or a file cannot be
            read.
    """
    ids, classes, thresholds = evaluation.ids, len(evaluation.truth.classes), evaluation.thresholds
    _require_predictions(evaluation)
    columns = len(thresholds) if thresholds else 1
    whole = SplitCounts(len(ids), classes, columns)
    boundary = SplitCounts(len(ids), classes, columns, groups=1) if evaluation.boundary else None
    chunks = [range(start, min(start + _CHUNK, len(ids))) for start in range(0, len(ids), _CHUNK)]
    with one_thread_of_opencv():
        for chunk, counts in map_unordered(_count, chunks, min(workers, len(chunks)), _begin, (evaluation,)):
            for part, batch in zip((whole, boundary), counts, strict=True):
                if part is not None and batch is not None:
                    part.add(batch)
            progress(len(chunk))
    return Tally(whole, boundary)


@contextmanager
def one_thread_of_opencv() -> Iterator[None]:
    """Let workers use one core each.

    A worker cannot see to that itself: it would wait for the threads of this process, which it has not got.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _require_predictions(evaluation: Evaluation) -> None:
    missing = evaluation.source.missing(evaluation.ids)
    if missing:
        raise InputError(
            f"there are {len(missing)} images without a prediction in {evaluation.source.name} (the first is "
            f"{missing[0]}): predict all {len(evaluation.ids)} images of the split"
        )


def _begin(evaluation: Evaluation) -> None:
    _worker["evaluation"] = evaluation
    if evaluation.source.uses_torch:
        import torch

        torch.set_num_threads(1)


def _count(positions: Sequence[int]) -> tuple[BatchCounts, BatchCounts | None]:
    """Counts of the images at these positions of the split."""
    evaluation = _worker["evaluation"]
    images = [_count_image(evaluation, evaluation.ids[position]) for position in positions]
    boundary = [counts for _, counts in images if counts is not None]
    return (
        BatchCounts.of(positions, [counts for counts, _ in images]),
        BatchCounts.of(positions, boundary) if boundary else None,
    )


def _count_image(evaluation: Evaluation, image_id: str) -> tuple[ImageCounts, ImageCounts | None]:
    """Counts of all pixels, and of those in boundary regions."""
    source, thresholds = evaluation.source, evaluation.thresholds
    truth, classes = evaluation.truth.mask(image_id), len(evaluation.truth.classes)
    try:
        if thresholds is None:
            labels = source.labels(image_id)
            whole = ImageCounts.of(confusion_matrix(truth, labels, classes))
            return whole, count_boundary(labels, truth, classes) if evaluation.boundary else None
        found = level_map(*source.cams(image_id), thresholds, classes)
        whole = count_levels(found, truth, classes)
        return whole, count_boundary_levels(found, truth, classes) if evaluation.boundary else None
    except ValueError as error:
        raise InputError(
            f"the prediction of image {image_id} does not fit its ground truth: {error}"
        ) from error


def conclude(evaluation: Evaluation, tally: Tally, protocol: Protocol) -> tuple[list[Quality], Curve | None]:
    """Derive the numbers of a split from its counts.

    Args:
        protocol: what the numbers mean, but for the threshold.

    Returns:
        For CAMs the best threshold of the sweep, then the fixed one, and the curve of the sweep; for label
        maps one, and no curve.

    Raises:
        InputError: the ground truth has nothing that counts.
    """
    counts, draws = tally.whole.total(), resampled_mean_iou(tally.whole)
    if not counts.truth.any():
        raise InputError(f"no pixel of split '{protocol.split}' counts: its ground truth is all 255")

    def quality(chosen: Literal["fixed", "best of sweep", "none"], at: float | None) -> Quality:
        column = 0 if at is None or evaluation.thresholds is None else evaluation.thresholds.index(at)
        drawn = _best_of(draws[:, swept], evaluation) if chosen == "best of sweep" else draws[:, column]
        return _quality(
            evaluation,
            counts[column],
            tally.boundary.total()[column] if tally.boundary else None,
            percentile_interval(drawn) if tally.whole.groups > 1 else None,
            at,
            protocol.model_copy(update={"threshold": chosen}),
        )

    if evaluation.thresholds is None:
        return [quality("none", None)], None
    swept = [evaluation.thresholds.index(value) for value in evaluation.sweep]
    found = []
    if evaluation.sweep:
        mean_iou = mean_over_classes(counts.iou)[swept]
        best = best_threshold(mean_iou, evaluation.stop_at_drop)
        found.append(quality("best of sweep", evaluation.sweep[best]))
    if evaluation.fixed is not None:
        found.append(quality("fixed", evaluation.fixed))
    return found, _curve(evaluation.sweep, counts, swept) if evaluation.sweep else None


def _best_of(draws: NDArray[np.float64], evaluation: Evaluation) -> NDArray[np.float64]:
    """The mIoU that each draw (D, T) chooses for itself: (D,)."""
    if not evaluation.stop_at_drop:
        return draws.max(1)
    return np.array([draw[best_threshold(draw, stop_at_drop=True)] for draw in draws])


def _quality(
    evaluation: Evaluation,
    counts: ClassCounts,
    boundary: ClassCounts | None,
    interval: Interval | None,
    threshold: float | None,
    protocol: Protocol,
) -> Quality:
    classes, values = evaluation.truth.classes, segmentation_metrics(counts)

    def by_class(numbers: Sequence[float]) -> dict[str, float | None]:
        return dict(zip(classes, _without_nan(numbers), strict=True))

    return Quality(
        value=values.mean_iou,
        threshold=threshold,
        per_class=by_class(values.iou),
        precision=by_class(values.precision),
        recall=by_class(values.recall),
        interval=interval,
        boundary_iou=float(mean_over_classes(boundary.iou)) if boundary else None,
        boundary_per_class=by_class(boundary.iou.tolist()) if boundary else {},
        excluded=[classes[label] for label in values.absent],
        pixel_accuracy=values.pixel_accuracy,
        mean_accuracy=values.mean_accuracy,
        false_rates={
            name: None if math.isnan(rate) else rate for name, rate in asdict(values.false_rates).items()
        },
        protocol=protocol,
    )


def _curve(sweep: Sequence[float], counts: ClassCounts, columns: Sequence[int]) -> Curve:
    """Means over classes at every threshold; those but mIoU over the foreground classes (irn spec B.8)."""
    foreground = ClassCounts(counts.truth[:, 1:], counts.predicted[:, 1:], counts.hit[:, 1:])
    rates = {
        "mIoU": counts.iou,
        "fp_rate": foreground.fp_rate,
        "fn_rate": foreground.fn_rate,
        "precision": foreground.precision,
        "recall": foreground.recall,
    }
    means = {name: mean_over_classes(values)[columns].tolist() for name, values in rates.items()}
    return {"threshold": list(sweep), **{name: _without_nan(values) for name, values in means.items()}}


def _without_nan(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
