"""The `infer` stage: a trained network over a split; the artifact holds one file of scores per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from mmseg.registry import MODELS

from harness.errors import InputError
from harness.inference import Inference
from harness.monitor import Throughput
from harness.registry import INFERENCES
from harness.schema import InferStage
from harness.stage import StageContext, StageResult
from harness.stages.per_image import TeamProgress, save_scores, unfinished
from harness.stages.team import Team, stage_device
from harness.weights import load_state

# The stacks of a VOC image take 50 MB, and a network is slower than this many threads prepare them.
THREADS = 8
PREFETCH = 2  # images prepared ahead per thread


def run(context: StageContext) -> StageResult:
    """Write `<id>.npz` for every image of the split; what is there already is kept.

    Raises:
        InputError: there is no such checkpoint, or an image cannot be read.
    """
    context.import_modules()
    config = InferStage.model_validate(context.request.config)
    inference: Inference = INFERENCES.build(config.inference)
    with Team(context) as team:
        return _run(context, team, config, inference)


def _run(context: StageContext, team: Team, config: InferStage, inference: Inference) -> StageResult:
    device = stage_device(context)
    model = load_model(context, epoch=config.epoch).to(device).eval()
    ids = context.ids()
    before = len(ids) - len(unfinished(ids, context.artifact.files, ".npz"))
    # Parts of all ids: what is unfinished changes while the processes begin.
    own = team.part(ids)
    pending = unfinished(own, context.artifact.files, ".npz")
    progress = TeamProgress(context, team, len(own), len(own) - len(pending))
    progress.begin(len(ids), before)
    throughput = Throughput()
    threads = max(1, min(context.request.workers // team.size, THREADS))
    with ThreadPoolExecutor(threads) as pool:
        for image_id, prepared in prefetched(pool, context, inference, pending, PREFETCH * threads):
            with torch.inference_mode():
                scores = inference.infer(model, prepared, device)
            save_scores(context.artifact.files / f"{image_id}.npz", scores)
            throughput.add(1)
            progress.add()
    team.wait(progress.show)
    return StageResult(
        meta={"images": len(ids), "scores": inference.kind, "inference": config.inference},
        images=len(ids) - before,
        images_per_second=team.rates(throughput.images_per_second),
        resumed_at=before,
    )


def load_model(context: StageContext, epoch: int | None = None) -> torch.nn.Module:
    """Build the model of the checkpoint artifact that comes in and load its state strictly.

    Raises:
        InputError: the asked-for epoch was not kept.
        RuntimeError: the state does not fit the model that it was made by: a fault of the code.
    """
    artifact = context.input("checkpoint")
    path = artifact.files / (f"epoch_{epoch}.pth" if epoch else "model.pth")
    if not path.is_file():
        raise InputError(
            f"there is no checkpoint of epoch {epoch} in {artifact.files}: add it to train_cfg.keep_epochs"
        )
    model = MODELS.build(artifact.manifest.meta["model"])
    model.load_state_dict(load_state(path))
    return model


def prefetched(
    pool: ThreadPoolExecutor, context: StageContext, inference: Inference, ids: Sequence[str], ahead: int
) -> Iterator[tuple[str, Any]]:
    """(id, prepared input) in order; decoding and resizing run ahead on threads (PIL releases the lock)."""

    def prepare(image_id: str) -> Any:
        image = context.dataset.read_image(image_id)
        labels = context.dataset.image_labels(image_id) if inference.needs_labels else None
        return inference.prepare(image, labels)

    source = iter(ids)
    waiting = [(i, pool.submit(prepare, i)) for i in islice(source, ahead)]
    while waiting:
        image_id, future = waiting.pop(0)
        yield image_id, future.result()
        waiting.extend((i, pool.submit(prepare, i)) for i in islice(source, 1))
