"""The `evaluate` stage: scores or masks against the ground truth; the artifact holds the metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from harness.artifact import Artifact
from harness.data.dataset import Dataset
from harness.data.palette import read_mask
from harness.errors import InputError
from harness.files import write_json
from harness.metrics.confusion import SegmentationMetrics, confusion_matrix, segmentation_metrics
from harness.metrics.sweep import ThresholdSweep
from harness.monitor import Throughput
from harness.processes import map_unordered
from harness.report import Metric, Protocol
from harness.schema import EvaluateStage, Sweep
from harness.stage import StageContext, StageResult
from harness.stages.per_image import load_scores

_CHUNK = 16  # images per task: their counts are merged before they travel between processes
_worker: dict[str, Any] = {}


def run(context: StageContext) -> StageResult:
    """Count every image once, derive the metrics, write `metrics.json`.

    Raises:
        InputError: predictions do not cover the split or do not fit the ground truth, or the thresholds do
            not fit the predictions.
    """
    config = EvaluateStage.model_validate(context.request.config)
    ids = list(context.ids())
    source = context.input("scores" if config.scores else "masks")
    _require_predictions(ids, source, config.split)
    classes = context.request.dataset.num_classes + 1
    empty: ThresholdSweep | np.ndarray
    if source.manifest.meta.get("scores") == "cam":
        empty = ThresholdSweep(classes, thresholds(config.sweep), _fixed(config))
    elif config.sweep is not None or config.threshold is not None:
        raise InputError(
            f"stage '{source.manifest.stage}' makes logits, which have a background class of their own: "
            f"remove sweep and threshold from stages.{context.request.stage}"
        )
    else:
        empty = np.zeros((classes, classes), dtype=np.int64)
    context.progress.begin(len(ids), "images")
    throughput, total, done = Throughput(), empty, 0
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    job = (context.dataset, source, config.split, empty)
    for chunk, counts in map_unordered(
        _count, chunks, min(context.request.workers, len(chunks)), _begin, job
    ):
        total = total + counts
        done += len(chunk)
        throughput.add(len(chunk))
        context.progress.update(done)
    metrics, curve = _metrics(context, config, total, len(ids), source)
    write_json(
        context.artifact.files / "metrics.json",
        {"metrics": [m.model_dump(mode="json") for m in metrics], "curve": curve},
    )
    return StageResult(
        meta={"images": len(ids)},
        images=len(ids),
        images_per_second=throughput.images_per_second,
        metrics=metrics,
        curve=curve,
    )


def thresholds(sweep: Sweep | None) -> list[float]:
    """The grid of a sweep, both ends included, free of accumulated rounding."""
    if sweep is None:
        return []
    steps = round((sweep.stop - sweep.start) / sweep.step)
    return [round(sweep.start + index * sweep.step, 10) for index in range(steps + 1)]


def _fixed(config: EvaluateStage) -> float:
    if config.sweep is None or config.threshold is None:
        raise InputError("CAMs need a background: give the evaluate stage a sweep and a fixed threshold")
    return config.threshold


def _require_predictions(ids: Sequence[str], artifact: Artifact, split: str) -> None:
    suffix = ".npz" if artifact.manifest.kind == "scores" else ".png"
    missing = [image_id for image_id in ids if f"{image_id}{suffix}" not in artifact.manifest.files]
    if missing:
        raise InputError(
            f"split '{split}' has {len(missing)} images without a prediction in the artifact of stage "
            f"'{artifact.manifest.stage}' (the first is {missing[0]}): predict a split that contains it"
        )


def _begin(dataset: Dataset, source: Artifact, split: str, empty: ThresholdSweep | np.ndarray) -> None:
    _worker.update(dataset=dataset, source=source, split=split, empty=empty)
    if source.manifest.meta.get("scores") == "logits":
        import torch

        torch.set_num_threads(1)  # parallel over images, one core each


def _count(ids: Sequence[str]) -> ThresholdSweep | np.ndarray:
    """Counts of some images, to be added to those of the others."""
    source, empty = _worker["source"], _worker["empty"]
    kind = source.manifest.meta.get("scores")
    total = empty + empty  # a fresh accumulator
    for image_id in ids:
        truth = _worker["dataset"].read_mask(image_id, _worker["split"])
        try:
            if kind == "cam":
                scores = load_scores(source.files / f"{image_id}.npz")
                total.add(scores["keys"], scores["high_res"], truth)
            else:
                total = total + confusion_matrix(truth, _prediction(source, image_id, kind), len(empty))
        except ValueError as error:
            raise InputError(
                f"the prediction of image {image_id} does not fit its ground truth: {error}"
            ) from error
    return total


def _prediction(source: Artifact, image_id: str, kind: str | None) -> np.ndarray:
    if kind != "logits":
        return read_mask(source.files / f"{image_id}.png")
    from harness.ops.resize import upsample_logits

    scores = load_scores(source.files / f"{image_id}.npz")
    height, width = (int(side) for side in scores["size"])
    return upsample_logits(scores["logits"], (height, width)).argmax(0)


def _metrics(
    context: StageContext, config: EvaluateStage, total: Any, images: int, source: Artifact
) -> tuple[list[Metric], dict[str, list[float]] | None]:
    def metric(
        values: SegmentationMetrics, chosen: Literal["fixed", "best of sweep", "none"], at: float | None
    ) -> Metric:
        return _metric(context, config, values, images, chosen, at, source)

    if not isinstance(total, ThresholdSweep):
        return [metric(segmentation_metrics(total), "none", None)], None
    swept = total.result()
    metrics = [
        metric(swept.best, "best of sweep", swept.best_threshold),
        metric(swept.fixed, "fixed", swept.fixed_threshold),
    ]
    return metrics, {"threshold": list(swept.thresholds), "mIoU": list(swept.mean_iou)}


def _metric(
    context: StageContext,
    config: EvaluateStage,
    values: SegmentationMetrics,
    images: int,
    chosen: Literal["fixed", "best of sweep", "none"],
    at: float | None,
    source: Artifact,
) -> Metric:
    dataset = context.dataset
    details: dict[str, Any] = {
        name: source.manifest.meta[name] for name in ("inference", "refiner") if name in source.manifest.meta
    }
    if config.sweep is not None:
        details["sweep"] = config.sweep.model_dump()
    return Metric(
        number=config.number,
        value=values.mean_iou,
        threshold=at,
        per_class={
            name: None if math.isnan(iou) else iou
            for name, iou in zip(dataset.classes, values.iou, strict=True)
        },
        excluded=[dataset.classes[index] for index in values.absent],
        pixel_accuracy=values.pixel_accuracy,
        mean_accuracy=values.mean_accuracy,
        false_rates=asdict(values.false_rates),
        protocol=Protocol(
            dataset=dataset.name,
            split=config.split,
            images=images,
            ground_truth=dataset.ground_truth(config.split),
            threshold=chosen,
            details=details,
        ),
    )
