"""The `evaluate` stage with metric `localization`: boxes around what class maps show, against boxes.

Only images of one class count, as the datasets of the literature have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.artifact import Artifact
from harness.data.dataset import Dataset
from harness.data.palette import read_mask
from harness.errors import InputError
from harness.evaluation import one_thread_of_opencv, thresholds
from harness.files import write_json
from harness.metrics.localization import (
    SIDE,
    LocalizationMetrics,
    Localized,
    best_iou,
    localization_metrics,
    pixel_average_precision,
    pixel_counts,
    resize_boxes,
    score_map,
)
from harness.monitor import Throughput
from harness.npz import read_npz
from harness.processes import map_unordered
from harness.report import Metric, Protocol
from harness.schema import EvaluateStage
from harness.stage import StageContext, StageResult
from harness.stages.per_image import unfinished

_worker: dict[str, Localizer] = {}


@dataclass(frozen=True)
class Localizer:
    """What an image is compared with, and how; it may be sent to worker processes.

    Attributes:
        scores: artifact with `keys`, `cam` and perhaps `class_scores` of every image.
        thresholds: parts of a map's maximum.
    """

    dataset: Dataset
    split: str
    scores: Artifact
    thresholds: Sequence[float]

    def __call__(self, sample: tuple[str, int]) -> Localized:
        """Compare an image with the boxes of its class.

        Raises:
            InputError: it has no box, or no map of the class.
        """
        image_id, index = sample
        arrays = read_npz(self.scores.files / f"{image_id}.npz")
        place = np.flatnonzero(arrays["keys"] == index)
        if not len(place):
            raise InputError(
                f"the scores of image {image_id} have no map of its class "
                f"'{self.dataset.classes[index + 1]}': infer them anew"
            )
        scores = score_map(arrays["cam"][place[0]])
        boxes = resize_boxes(self.dataset.boxes(image_id, index), self.dataset.image_size(image_id))
        told = arrays.get("class_scores")
        return Localized(
            best_iou(scores, boxes, self.thresholds, multiple=False),
            best_iou(scores, boxes, self.thresholds, multiple=True),
            None if told is None else int((told > told[index]).sum()),
            self._pixels(image_id, index, scores),
        )

    def _pixels(self, image_id: str, index: int, scores: NDArray[np.float64]) -> NDArray[np.int64] | None:
        path = self.dataset.mask_path(image_id, self.split)
        if not path.exists():
            return None
        mask = cv2.resize(read_mask(path), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        return pixel_counts(scores, np.asarray(mask, np.uint8), index + 1)


def run(context: StageContext, config: EvaluateStage) -> StageResult:
    """Compare every image of one class, write `metrics.json`.

    Raises:
        InputError: the scores are no class maps or do not cover the split, or no image has one class.
    """
    artifact, dataset = context.input("scores"), context.dataset
    samples = _samples(context, config, artifact)
    sweep = thresholds(config.sweep)
    localizer = Localizer(dataset, config.split, artifact, [*sweep, *_fixed(config)])
    context.progress.begin(len(samples), "images")
    throughput, found = Throughput(), {}
    workers = min(context.request.workers, len(samples))
    with one_thread_of_opencv():
        for sample, localized in map_unordered(_localize, samples, workers, _begin, (localizer,)):
            found[sample] = localized
            throughput.add(1)
            context.progress.update(len(found))
    images = [found[sample] for sample in samples]
    protocol = _protocol(context, config, artifact, len(samples))
    metrics = [_metric(images, samples, sweep, range(len(sweep)), dataset, protocol, "best of sweep")]
    for at, threshold in enumerate(_fixed(config), start=len(sweep)):
        metrics.append(_metric(images, samples, [threshold], [at], dataset, protocol, "fixed"))
    write_json(
        context.artifact.files / "metrics.json",
        {"metrics": [metric.model_dump(mode="json") for metric in metrics], "curve": None},
    )
    return StageResult(
        meta={"images": len(samples)},
        images=len(samples),
        images_per_second=throughput.images_per_second,
        metrics=metrics,
    )


def _fixed(config: EvaluateStage) -> list[float]:
    return [] if config.threshold is None else [config.threshold]


def _samples(context: StageContext, config: EvaluateStage, artifact: Artifact) -> list[tuple[str, int]]:
    """The images that have one class, with it."""
    if artifact.manifest.meta.get("scores") != "cam":
        raise InputError(
            f"localization needs class maps, and stage '{artifact.manifest.stage}' makes none: name a stage "
            "with inference LocalizationCAM or MultiScaleCAM"
        )
    labels = {image_id: np.flatnonzero(context.dataset.image_labels(image_id)) for image_id in context.ids()}
    samples = [(image_id, int(classes[0])) for image_id, classes in labels.items() if len(classes) == 1]
    if not samples:
        raise InputError(
            f"no image of split '{config.split}' has exactly one class, so that none can be localised: "
            "take another split"
        )
    missing = unfinished([image_id for image_id, _ in samples], artifact.files, ".npz")
    if missing:
        raise InputError(
            f"there are {len(missing)} images without scores in the artifact of stage "
            f"'{artifact.manifest.stage}' (the first is {missing[0]}): infer over a split that contains them"
        )
    return samples


def _begin(localizer: Localizer) -> None:
    _worker["localizer"] = localizer


def _localize(sample: tuple[str, int]) -> Localized:
    return _worker["localizer"](sample)


def _protocol(context: StageContext, config: EvaluateStage, artifact: Artifact, images: int) -> Protocol:
    details: dict[str, Any] = {"inference": artifact.manifest.meta.get("inference")}
    if config.sweep is not None:
        details["sweep"] = config.sweep.model_dump()
    return Protocol(
        metric="MaxBoxAccV2",
        dataset=context.dataset.name,
        split=config.split,
        images=images,
        ground_truth="boxes of images with one class",
        details=details,
    )


def _metric(
    images: Sequence[Localized],
    samples: Sequence[tuple[str, int]],
    at: Sequence[float],
    columns: Sequence[int],
    dataset: Dataset,
    protocol: Protocol,
    chosen: Any,
) -> Metric:
    """The numbers at some of the thresholds, which are in these columns."""
    found = localization_metrics([image.at(columns) for image in images], at)
    classes = np.array([index for _, index in samples])
    of_class: dict[str, float | None] = {
        dataset.classes[index + 1]: float(found.hits[classes == index].mean()) for index in np.unique(classes)
    }
    pixels = [image.pixels for image in images if image.pixels is not None]
    return Metric(
        number="loc",
        value=found.max_box_acc_v2,
        threshold=found.threshold,
        per_class=of_class,
        localization=_named(found)
        | {"PxAP": pixel_average_precision(np.sum(pixels, axis=0)) if len(pixels) == len(images) else None},
        protocol=protocol.model_copy(update={"threshold": chosen}),
    )


def _named(found: LocalizationMetrics) -> dict[str, float | None]:
    """The numbers by the names that tables show."""
    return {
        "MaxBoxAccV2": found.max_box_acc_v2,
        **{f"box accuracy at IoU {level:g}": value for level, value in found.levels.items()},
        "MaxBoxAcc": found.max_box_acc,
        "GT-known Loc": float(found.hits.mean()),
        "Top-1 Loc": found.top1_loc,
        "Top-5 Loc": found.top5_loc,
        "Top-1": found.top1,
        "Top-5": found.top5,
    }
