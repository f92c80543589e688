"""The `refine` stage: scores become masks, by CRF, random walk or whatever the refiner does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.artifact import Artifact
from harness.data.dataset import Dataset
from harness.data.palette import write_mask
from harness.errors import InputError
from harness.monitor import Throughput
from harness.processes import map_unordered
from harness.registry import REFINERS
from harness.schema import RefineStage
from harness.stage import StageContext, StageResult
from harness.stages.infer import load_model
from harness.stages.per_image import TeamProgress, load_scores, save_scores, unfinished
from harness.stages.team import Team, stage_device

_SUFFIX = {"masks": ".png", "soft_masks": ".npz"}
_worker: dict[str, Any] = {}


def run(context: StageContext) -> StageResult:
    """Write `<id>.png` for every image of the split; what is there already is kept.

    Raises:
        InputError: the scores do not cover the split, or an image cannot be read.
    """
    context.import_modules()
    config = RefineStage.model_validate(context.request.config)
    refiner = REFINERS.build(config.refiner)
    ids = context.ids()
    scores = context.input("scores") if config.scores else None
    if scores:
        require_scores(ids, scores, config.split)
    require_inputs(refiner, config)
    if refiner.kind == "cpu":  # a pool of its own has all cores
        return _run(context, Team(context, alone=True), config, refiner, scores)
    with Team(context) as team:
        return _run(context, team, config, refiner, scores)


def _run(
    context: StageContext, team: Team, config: RefineStage, refiner: Any, scores: Artifact | None
) -> StageResult:
    ids = context.ids()
    before = len(ids) - len(unfinished(ids, context.artifact.files, _SUFFIX[config.output]))
    own = team.part(ids)
    pending = unfinished(own, context.artifact.files, _SUFFIX[config.output])
    progress = TeamProgress(context, team, len(own), len(own) - len(pending))
    progress.begin(len(ids), before)
    throughput = Throughput()
    workers = max(1, context.request.workers // team.size)
    model = None
    if refiner.kind == "model":
        model = _model(context)
        workers = 1  # the network runs in this process
    items = _predicted(context, refiner, pending) if refiner.kind == "stream" else pending
    job = (context.dataset, scores, context.artifact, refiner, model)
    for _ in map_unordered(_refine_image, items, min(workers, len(pending)), _begin, job):
        throughput.add(1)
        progress.add()
    team.wait(progress.show)
    return StageResult(
        meta={"images": len(ids), "refiner": config.refiner},
        images=len(ids) - before,
        images_per_second=team.rates(throughput.images_per_second),
        resumed_at=before,
    )


def _model(context: StageContext) -> torch.nn.Module:
    return load_model(context).to(stage_device(context)).eval()


def _predicted(
    context: StageContext, refiner: Any, ids: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
    """Ids with what the network makes of their images; begins when the first one is asked for."""
    model, device = _model(context), stage_device(context)
    for image_id in ids:
        with torch.inference_mode():
            yield image_id, refiner.predict(context.dataset.read_image(image_id), model, device)


def require_inputs(refiner: Any, config: RefineStage) -> None:
    """Check that a refiner gets what its kind needs.

    Raises:
        InputError: scores or a checkpoint are missing or would not be used, or it makes something else.
    """
    needs_scores, needs_checkpoint = refiner.kind != "stream", refiner.kind != "cpu"
    for name, given, needed in (
        ("scores", config.scores, needs_scores),
        ("checkpoint", config.checkpoint, needs_checkpoint),
    ):
        if needed != (given is not None):
            raise InputError(
                f"the refiner {type(refiner).__name__} {'needs' if needed else 'has no use for'} '{name}': "
                f"{'name the stage that makes it' if needed else 'remove it'} in the refine stage"
            )
    made = getattr(refiner, "output", "masks")
    if made != config.output:
        raise InputError(
            f"the refiner {type(refiner).__name__} makes {made}, not {config.output}: "
            f"set output to '{made}' in the refine stage"
        )


def require_scores(ids: Any, artifact: Artifact, split: str) -> None:
    """Check that an artifact has scores for every image of a split.

    Raises:
        InputError: it has not; names the first image without.
    """
    missing = [image_id for image_id in ids if f"{image_id}.npz" not in artifact.manifest.files]
    if missing:
        raise InputError(
            f"split '{split}' has {len(missing)} images without scores in the artifact of stage "
            f"'{artifact.manifest.stage}' (the first is {missing[0]}): infer over a split that contains it"
        )


def _begin(dataset: Dataset, scores: Artifact | None, output: Artifact, refiner: Any, model: Any) -> None:
    if refiner.kind == "cpu":
        torch.set_num_threads(1)  # parallel over images, one core each
    _worker.update(dataset=dataset, scores=scores, output=output, refiner=refiner, model=model)


def _refine_image(item: str | tuple[str, Mapping[str, np.ndarray]]) -> None:
    """Write the mask of an image, or its soft masks; its scores come with it or lie in the artifact."""
    dataset, refiner, model = _worker["dataset"], _worker["refiner"], _worker["model"]
    scores: Mapping[str, np.ndarray]
    if isinstance(item, str):
        image_id, scores = item, load_scores(_worker["scores"].files / f"{item}.npz")
    else:
        image_id, scores = item
    image = dataset.read_image(image_id)
    if model is None:
        made = refiner(image, scores)
    else:
        with torch.inference_mode():
            made = refiner(image, scores, model, next(model.parameters()).device)
    if isinstance(made, Mapping):
        save_scores(_worker["output"].files / f"{image_id}.npz", made)
    else:
        write_mask(_worker["output"].files / f"{image_id}.png", made.astype(np.uint8), dataset.palette)
