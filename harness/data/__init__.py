"""Datasets by name. Importing this package imports neither torch nor mmengine."""

from __future__ import annotations

from pathlib import Path

from harness.data.boxed import CUB, ILSVRC
from harness.data.coco import COCO
from harness.data.dataset import Dataset, LabelSource
from harness.data.fingerprint import OnProgress
from harness.data.shapes import Shapes
from harness.data.voc import VOC
from harness.errors import InputError, nearest

DATASETS: dict[str, type[Dataset]] = {
    "voc": VOC,
    "coco": COCO,
    "shapes": Shapes,
    "cub": CUB,
    "ilsvrc": ILSVRC,
}


def open_dataset(
    name: str,
    root: Path | None,
    cache: Path | None = None,
    progress: OnProgress | None = None,
    labels: LabelSource = "annotations",
) -> Dataset:
    """Open a dataset.

    Args:
        name: a key of `DATASETS`.
        root: its folder. None is for `shapes` only, which is then generated into the cache on first use.
        cache: folder for facts about files and generated data; default `data_cache()`.
        progress: told (done, total) images while a dataset is generated.
        labels: where image-level labels come from.

    Raises:
        InputError: no such dataset, or it is not at `root`.
    """
    if name not in DATASETS:
        raise InputError(
            f"there is no dataset '{name}'{nearest(name, DATASETS)}; the datasets are {', '.join(DATASETS)}"
        )
    return DATASETS[name].open(root, cache, progress, labels)


__all__ = ["DATASETS", "Dataset", "LabelSource", "open_dataset"]
