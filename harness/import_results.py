"""Predictions of other codes in the place of a stage's output.

An import is an artifact folder like that of a stage, so that all stages can read it; its files are those of
the stage contract.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifact import Artifact, Kind
from harness.data.fingerprint import OnProgress
from harness.data.palette import read_mask, require_classes, voc_palette, write_mask
from harness.errors import InputError
from harness.layouts import LAYOUTS, Predictions
from harness.processes import map_unordered
from harness.stages.per_image import save_scores

ABSENT = -1e4  # logit of a class that a file has no map for; softmax makes it 0

_worker: dict[str, Any] = {}


@dataclass(frozen=True)
class ImportSummary:
    """What an import made: number of images, and of those with scores outside of [0, 1]."""

    images: int
    outside: int


def import_predictions(
    predictions: Predictions,
    folder: Path,
    *,
    classes: int,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> ImportSummary:
    """Make an artifact of predictions; it appears whole or not at all.

    CAMs become scores of kind `cam`; where the layout has no map at a quarter of the size it is the bilinear
    resize of the large one. Score maps become logits, masks stay masks.

    Args:
        predictions: what to import.
        folder: to make; it must not hold anything.
        classes: without background.
        workers: processes.
        progress: told (done, total) images.

    Raises:
        InputError: the folder is not empty, or a prediction is broken or has classes that do not exist.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name a new folder for the import")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    outside = 0
    try:
        artifact = Artifact(part).open()
        job = (predictions, artifact.files, classes)
        tasks = map_unordered(_import_image, predictions.ids, workers, _begin, job)
        for done, (_, image_is_outside) in enumerate(tasks, start=1):
            outside += image_is_outside
            if progress:
                progress(done, len(predictions.ids))
        kind: Kind = "masks" if predictions.kind == "masks" else "scores"
        source = {"type": "imported", "layout": predictions.layout}
        meta: dict[str, Any] = {"images": len(predictions.ids)}
        if kind == "masks":
            meta["refiner"] = source
        else:
            meta |= {"scores": "cam" if predictions.kind == "cam" else "logits", "inference": source}
        artifact.finish(kind, "imported", "imported", meta)
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return ImportSummary(len(predictions.ids), outside)


def _begin(predictions: Predictions, files: Path, classes: int) -> None:
    _worker.update(predictions=predictions, files=files, classes=classes, palette=voc_palette())


def _import_image(image_id: str) -> bool:
    """Write one image's file; returns whether its scores leave [0, 1]."""
    predictions: Predictions = _worker["predictions"]
    files, classes = _worker["files"], _worker["classes"]
    path = predictions.path(image_id)
    if predictions.kind == "masks":
        mask = read_mask(path)
        require_classes(path, mask.tobytes(), classes)
        write_mask(files / f"{image_id}.png", mask, _worker["palette"])
        return False
    keys, maps = predictions.read(image_id)
    _require_keys(path, keys, classes + (predictions.kind == "scores"))
    if predictions.kind == "scores":
        logits = np.full((classes + 1, *maps.shape[1:]), ABSENT, np.float32)
        logits[keys] = maps
        size = np.array(maps.shape[1:], np.int64)
        save_scores(files / f"{image_id}.npz", {"logits": logits, "size": size})
        return False
    own = LAYOUTS[predictions.layout].has_quarter
    quarter = predictions.fields(image_id)["cam"] if own else _quarter(maps)
    save_scores(files / f"{image_id}.npz", {"keys": keys, "cam": quarter, "high_res": maps})
    return bool(maps.size and (maps.min() < 0 or maps.max() > 1))


def _require_keys(path: Path, keys: NDArray[np.int64], count: int) -> None:
    if keys.size and keys.max() >= count:
        raise InputError(
            f"{path} has a map of key {keys.max()}, but the dataset has keys 0 to {count - 1}: name another "
            "--dataset or --layout"
        )


def _quarter(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    from harness.ops.resize import upsample_logits

    height, width = maps.shape[1:]
    return upsample_logits(maps, ((height + 3) // 4, (width + 3) // 4))
