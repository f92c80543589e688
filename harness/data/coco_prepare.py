"""Derive COCO's semantic masks, lists and image-level labels from its instances.

Safe to kill and to start again: a mask appears whole or not at all, what is there is kept, lists and labels
come after all masks, and the marker last.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.coco import (
    MARKER,
    SPLITS,
    SUBSETS,
    VAL_PART,
    image_folder,
    label_path,
    list_path,
    mask_path,
    subset_of,
)
from harness.data.coco_classes import CLASSES
from harness.data.coco_instances import InstancesImage, read_instances, read_regions
from harness.data.coco_masks import draw_mask
from harness.data.dataset import LabelSource
from harness.data.fingerprint import OnProgress
from harness.data.image_file import image_size
from harness.data.label_list import read_label_list, write_label_list
from harness.data.palette import read_mask
from harness.data.voc import write_id_list
from harness.errors import InputError
from harness.files import atomic_file, file_sha256, write_json
from harness.processes import map_unordered

RULE = 1  # by which everything here is derived: raise it with every change to what comes out
_SHARD = 32  # images per task

Files = dict[str, int]
Labels = Mapping[str, Sequence[int]]
Origin = Mapping[str, Any]

_worker: dict[str, Path] = {}


def derive_coco(root: Path, workers: int, progress: OnProgress | None = None) -> Files:
    """Derive what `harness.data.coco.COCO` needs from COCO's own files; what is there already is kept.

    Nobody else may do this for the same `root` meanwhile, which `harness data prepare` sees to.

    Args:
        root: the folder that holds `annotations` and the images.
        workers: processes that draw masks.
        progress: told (done, total) images while masks are drawn.

    Returns:
        Bytes of every file that was derived, by its path relative to `root`.

    Raises:
        InputError: a file of instances or an image is missing or broken, they do not fit each other, or
            SegmentationClass holds masks of another origin.
    """
    origins = {subset: _origin(root, subset) for subset in SUBSETS}
    if not _is_done(root, origins):
        _derive(root, origins, workers, progress)
    return _files(root)


def _origin(root: Path, subset: str) -> Origin:
    """What the masks of a subset are derived from."""
    source = _source(root, subset)
    if not source.is_file():
        raise InputError(f"there is no {source}: complete the dataset")
    return {"rule": RULE, "source": source.name, "sha256": file_sha256(source)}


def _is_done(root: Path, origins: Mapping[str, Origin]) -> bool:
    """Whether everything was derived from these sources, and all of it is still there."""
    found = _read_document(root / MARKER)
    files = found.get("files")
    if not files or found.get("origins") != origins:
        return False
    for name, sha256 in files.items():
        if not (root / name).is_file() or file_sha256(root / name) != sha256:
            return False
    masks = {path.stem for subset in SUBSETS for path in _mask_folder(root, subset).glob("*.png")}
    return read_label_list(label_path(root, "masks"), len(CLASSES) - 1).keys() <= masks


def _derive(root: Path, origins: Mapping[str, Origin], workers: int, progress: OnProgress | None) -> None:
    (root / MARKER).unlink(missing_ok=True)
    images = {subset: _read_images(root, subset) for subset in SUBSETS}
    for subset in SUBSETS:
        _open_mask_folder(root, subset, origins[subset])
    every = [*images["train2014"], *images["val2014"]]
    labels = _draw_masks(root, every, workers, progress)
    written = _write_lists(root, images)
    written += _write_labels(root, every, labels)
    files = {str(path.relative_to(root)): file_sha256(path) for path in written}
    write_json(root / MARKER, {"origins": origins, "files": files})


def _files(root: Path) -> Files:
    derived = [root / MARKER, *(root / "SegmentationClass").glob("*.json")]
    derived += [list_path(root, split) for split in SPLITS]
    derived += [label_path(root, source) for source in get_args(LabelSource)]
    derived += [path for subset in SUBSETS for path in _mask_folder(root, subset).glob("*.png")]
    return {str(path.relative_to(root)): path.stat().st_size for path in derived}


def _read_images(root: Path, subset: str) -> list[InstancesImage]:
    source = _source(root, subset)
    images = read_instances(source)
    for image in images:
        if subset_of(image.id) != subset:
            raise InputError(f"{source} lists {image.id}, which is not of {subset}: get the file again")
    if not any(image.labels for image in images):
        raise InputError(f"{source} has no annotation: get the file again")
    return images


def _draw_masks(
    root: Path, images: Sequence[InstancesImage], workers: int, progress: OnProgress | None
) -> Labels:
    """Make all masks; return the labels that occur in each."""
    labels: dict[str, Sequence[int]] = {}
    shards = [list(images[start : start + _SHARD]) for start in range(0, len(images), _SHARD)]
    for shard, found in map_unordered(_draw_shard, shards, min(workers, len(shards)), _begin, (root,)):
        labels |= {image.id: shown for image, shown in zip(shard, found, strict=True)}
        if progress:
            progress(len(labels), len(images))
    return labels


def _source(root: Path, subset: str) -> Path:
    return root / "annotations" / f"instances_{subset}.json"


def _mask_folder(root: Path, subset: str) -> Path:
    return root / "SegmentationClass" / subset


def _read_document(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one where the file is absent or torn."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _open_mask_folder(root: Path, subset: str, origin: Origin) -> None:
    """Make a folder for masks that are derived from `origin`; what was derived from another one goes.

    Raises:
        InputError: there are masks of unknown origin.
    """
    folder = _mask_folder(root, subset)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):  # of a killed process
        leftover.unlink()
    note = folder.with_suffix(".json")
    found = _read_document(note)
    if found == origin:
        return
    if not found and any(folder.glob("*.png")):
        raise InputError(
            f"{folder} holds masks that were not derived here, perhaps by other rules: move them away, so "
            "that they are derived"
        )
    for mask in folder.glob("*.png"):
        mask.unlink()
    write_json(note, origin)


def _write_lists(root: Path, images: Mapping[str, Sequence[InstancesImage]]) -> list[Path]:
    train, val = ([image.id for image in images[subset] if image.labels] for subset in SUBSETS)
    # Those of val first: a run that is limited to the first images of both then takes the same ones.
    val_all = val + [image.id for image in images["val2014"] if not image.labels]
    lists = {"train": train, "val": val, "val_all": val_all, "val_part": val[:VAL_PART]}
    for split, ids in lists.items():
        write_id_list(list_path(root, split), ids)
    return [list_path(root, split) for split in lists]


def _write_labels(root: Path, images: Sequence[InstancesImage], of_masks: Labels) -> list[Path]:
    annotations, masks = label_path(root, "annotations"), label_path(root, "masks")
    write_label_list(annotations, ((image.id, image.labels) for image in images))
    write_label_list(masks, ((image.id, of_masks[image.id]) for image in images))
    return [annotations, masks]


def _begin(root: Path) -> None:
    _worker["root"] = root


def _draw_shard(shard: Sequence[InstancesImage]) -> list[Sequence[int]]:
    """Make the masks of some images that are not there yet; return the labels that occur in each."""
    root = _worker["root"]
    found: list[Sequence[int]] = []
    for image in shard:
        path = mask_path(root, image.id)
        mask = _finished_mask(path, image)
        if mask is None:
            mask = _draw(root, image)
            _write_gray(path, mask)
        pixels = mask.tobytes()
        found.append([label for label in image.labels if label in pixels])
    return found


def _finished_mask(path: Path, image: InstancesImage) -> NDArray[np.uint8] | None:
    """The mask that an earlier start made; None where there is none, or none that can be read."""
    with contextlib.suppress(InputError):
        mask = read_mask(path)
        if mask.shape == (image.height, image.width):
            return mask
    return None


def _draw(root: Path, image: InstancesImage) -> NDArray[np.uint8]:
    source = _source(root, subset_of(image.id))
    photograph = image_folder(root, subset_of(image.id)) / f"{image.id}.jpg"
    height, width = image_size(photograph)
    if (height, width) != (image.height, image.width):
        raise InputError(
            f"the image {photograph} is {width} x {height} pixels, but {source} says {image.width} x "
            f"{image.height}: replace the one that is wrong"
        )
    try:
        return draw_mask(read_regions(source, image), height, width)
    except ValueError as error:
        raise InputError(f"{error}, in {source} for image {image.id}: get the file again") from error


def _write_gray(path: Path, mask: NDArray[np.uint8]) -> None:
    """Write a mask as COCO's are distributed: 8-bit gray PNG without a palette, the value being the label."""
    # What is above is nearly always the same: half the time of an encoder that tries all filters, and smaller
    # than what zlib makes by default.
    options = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    with atomic_file(path, durable=False) as file:
        file.write(cv2.imencode(".png", mask, options)[1])
