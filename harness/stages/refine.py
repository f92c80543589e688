"""The `refine` stage: scores become masks, by CRF, random walk or whatever the refiner does."""

from __future__ import annotations

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
from harness.stages.per_image import load_scores, unfinished

_worker: dict[str, Any] = {}


def run(context: StageContext) -> StageResult:
    """Write `<id>.png` for every image of the split; what is there already is kept.

    Raises:
        InputError: the scores do not cover the split, or an image cannot be read.
    """
    context.import_modules()
    config = RefineStage.model_validate(context.request.config)
    refiner = REFINERS.build(config.refiner)
    scores = context.input("scores")
    ids = context.ids()
    require_scores(ids, scores, config.split)
    pending = unfinished(ids, context.artifact.files, ".png")
    done = len(ids) - len(pending)
    context.progress.begin(len(ids), "images", done)
    throughput = Throughput()
    workers = context.request.workers
    model, device = None, torch.device("cpu")
    if refiner.kind == "model":
        device = torch.device("cuda" if context.request.gpus and torch.cuda.is_available() else "cpu")
        model = load_model(context).to(device).eval()
        workers = 1  # the network runs in this process
    job = (context.dataset, scores, context.artifact, refiner, model, device)
    for _ in map_unordered(_refine_image, pending, min(workers, len(pending)), _begin, job):
        done += 1
        throughput.add(1)
        context.progress.update(done)
    return StageResult(
        meta={"images": len(ids), "refiner": config.refiner},
        images=len(pending),
        images_per_second=throughput.images_per_second,
        resumed_at=len(ids) - len(pending),
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


def _begin(
    dataset: Dataset, scores: Artifact, output: Artifact, refiner: Any, model: Any, device: torch.device
) -> None:
    if model is None:
        torch.set_num_threads(1)  # parallel over images, one core each
    _worker.update(dataset=dataset, scores=scores, output=output, refiner=refiner, model=model, device=device)


def _refine_image(image_id: str) -> None:
    dataset, refiner, model = _worker["dataset"], _worker["refiner"], _worker["model"]
    image = dataset.read_image(image_id)
    scores = load_scores(_worker["scores"].files / f"{image_id}.npz")
    if model is None:
        mask = refiner(image, scores)
    else:
        with torch.inference_mode():
            mask = refiner(image, scores, model, _worker["device"])
    write_mask(_worker["output"].files / f"{image_id}.png", mask.astype(np.uint8), dataset.palette)
