"""Packages for PASCAL VOC's evaluation server, the only place where VOC 2012's test split is evaluated.

    results/VOC2012/Segmentation/comp6_test_cls/<id>.png    1,456 indexed PNGs in a tar archive

Source: M. Everingham and J. Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit, section
"Segmentation". `comp5` is for methods that learn from VOC's own data alone, `comp6` for all that use anything
else: weights trained on ImageNet or COCO, or SBD's images. Every method here does.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.dataset import Dataset
from harness.data.fingerprint import OnProgress, content_hash
from harness.data.official_splits import VOC_SPLITS
from harness.data.palette import IGNORE, voc_palette
from harness.errors import InputError
from harness.files import atomic_file
from harness.prediction_source import Source
from harness.processes import map_unordered

SPLIT = "test"
IMAGES = VOC_SPLITS[SPLIT].images
FOLDER = PurePosixPath("results/VOC2012/Segmentation")
COMPETITIONS = ("comp5_test_cls", "comp6_test_cls")
CLASSES = 21  # with background

_worker: dict[str, Any] = {}


def is_official(ids: Sequence[str]) -> bool:
    """Whether these are the ids of VOC 2012's test split, in any order."""
    return len(ids) == IMAGES and content_hash(sorted(ids)) == VOC_SPLITS[SPLIT].ids


def encode_masks(
    source: Source, dataset: Dataset, ids: Sequence[str], workers: int, progress: OnProgress
) -> dict[str, bytes]:
    """Predictions as the PNGs that the server reads.

    Undecided pixels (255) become background, as in our own evaluation; the server has no such label.

    Args:
        source: predictions for all of the images.
        dataset: whose images they are for.
        workers: processes.
        progress: told (done, total) images.

    Returns:
        Content of the file per id.

    Raises:
        InputError: a prediction is missing or has not its image's size.
    """
    if missing := source.missing(ids):
        raise InputError(
            f"{source.name} has no prediction for {len(missing)} of {len(ids)} images (the first is "
            f"{missing[0]}): run it again"
        )
    encoded: dict[str, bytes] = {}
    job = (source, dataset)
    for image_id, content in map_unordered(_encode, ids, min(workers, len(ids)), _begin, job):
        encoded[image_id] = content
        progress(len(encoded), len(ids))
    return encoded


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """An indexed 8-bit PNG with VOC's colour map; the same bytes for the same (H, W) mask."""
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_package(path: Path, masks: Mapping[str, bytes], competition: str = COMPETITIONS[-1]) -> None:
    """Write a package; the same masks give the same bytes, whoever packs them and when.

    Args:
        path: tar archive to write, whole or not at all.
        masks: content of the PNG per image id.
        competition: folder that names what was learned from.
    """
    with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for image_id in sorted(masks):
            member = tarfile.TarInfo(str(FOLDER / competition / f"{image_id}.png"))
            member.size = len(masks[image_id])  # owner, group and time stay 0
            tar.addfile(member, io.BytesIO(masks[image_id]))


def _begin(source: Source, dataset: Dataset) -> None:
    _worker.update(source=source, dataset=dataset)
    if source.uses_torch:
        import torch

        torch.set_num_threads(1)  # parallel over images, one core each


def _encode(image_id: str) -> bytes:
    source, dataset = _worker["source"], _worker["dataset"]
    mask, size = source.labels(image_id), dataset.image_size(image_id)
    if mask.shape != size:
        raise InputError(
            f"the prediction of {image_id} is {mask.shape[1]} x {mask.shape[0]} pixels but its image is "
            f"{size[1]} x {size[0]}: run it again"
        )
    return encode_mask(np.where(mask == IGNORE, 0, mask).astype(np.uint8))
