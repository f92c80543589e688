"""The `evaluate` stage: scores or masks against the ground truth; the artifact holds the metrics."""

from __future__ import annotations

from typing import Any

from harness.artifact import Artifact
from harness.errors import InputError
from harness.evaluation import Evaluation, conclude, count, thresholds
from harness.files import write_json
from harness.monitor import Throughput
from harness.prediction_source import ArtifactSource, DatasetTruth
from harness.report import Metric, Protocol
from harness.schema import EvaluateStage
from harness.stage import StageContext, StageResult
from harness.stages import localize
from harness.stages.examples import Prediction, cam_prediction, write_examples


def run(context: StageContext) -> StageResult:
    """Count every image once, derive the metrics, write `metrics.json` and example pictures.

    Raises:
        InputError: predictions do not cover the split or do not fit the ground truth, or the thresholds do
            not fit the predictions.
    """
    config = EvaluateStage.model_validate(context.request.config)
    if config.metric == "localization":
        return localize.run(context, config)
    artifact = context.input("scores" if config.scores else "masks")
    source = ArtifactSource(artifact)
    _require_fitting_thresholds(context, config, source)
    evaluation = Evaluation(
        ids=list(context.ids()),
        source=source,
        truth=DatasetTruth(context.dataset, config.split),
        sweep=thresholds(config.sweep),
        fixed=config.threshold,
        stop_at_drop=config.sweep is not None and config.sweep.stop_at_drop,
    )
    context.progress.begin(len(evaluation.ids), "images")
    throughput, done = Throughput(), 0

    def progress(images: int) -> None:
        nonlocal done
        done += images
        throughput.add(images)
        context.progress.update(done)

    tally = count(evaluation, context.request.workers, progress)
    found, curve = conclude(evaluation, tally, _protocol(context, config, artifact))
    metrics = [Metric(number=config.number, **dict(quality)) for quality in found]
    write_json(
        context.artifact.files / "metrics.json",
        {"metrics": [m.model_dump(mode="json") for m in metrics], "curve": curve},
    )
    _write_examples(context, config, evaluation, metrics[0].threshold)
    return StageResult(
        meta={"images": len(evaluation.ids)},
        images=len(evaluation.ids),
        images_per_second=throughput.images_per_second,
        metrics=metrics,
        curve=curve,
    )


def _require_fitting_thresholds(context: StageContext, config: EvaluateStage, source: ArtifactSource) -> None:
    stage = source.artifact.manifest.stage
    if source.kind == "cams":
        if config.sweep is None or config.threshold is None:
            raise InputError("CAMs need a background: give the evaluate stage a sweep and a fixed threshold")
    elif config.sweep is not None or config.threshold is not None:
        raise InputError(
            f"stage '{stage}' makes logits, which have a background class of their own: "
            f"remove sweep and threshold from stages.{context.request.stage}"
        )


def _protocol(context: StageContext, config: EvaluateStage, artifact: Artifact) -> Protocol:
    meta = artifact.manifest.meta
    details: dict[str, Any] = {name: meta[name] for name in ("inference", "refiner") if name in meta}
    if config.sweep is not None:
        details["sweep"] = config.sweep.model_dump()
    return Protocol(
        dataset=context.dataset.name,
        split=config.split,
        images=len(context.ids()),
        ground_truth=context.dataset.ground_truth(config.split),
        details=details,
    )


def _write_examples(
    context: StageContext, config: EvaluateStage, evaluation: Evaluation, threshold: float | None
) -> None:
    source = evaluation.source

    def predict(image_id: str) -> Prediction:
        if threshold is None:
            return Prediction(source.labels(image_id))
        return cam_prediction(*source.cams(image_id), threshold)

    write_examples(context.artifact.files, context.dataset, config.split, evaluation.ids, predict, threshold)
