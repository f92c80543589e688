"""How COCO 2014 is made from its archives (layout: see `harness.data.coco`).

Archives that somebody has unpacked before are taken as they are, in either layout of the images. Everything
else is derived by `harness.data.coco_prepare`.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from harness.data.archive import extract
from harness.data.coco import COCO, SUBSETS, image_folder
from harness.data.coco_prepare import RULE, derive_coco
from harness.data.recipe import Files, Job, Recipe, SplitRow, Step
from harness.errors import InputError

_INSTANCES = [f"annotations/instances_{subset}.json" for subset in SUBSETS]


def unpack_images(job: Job, archive: str, subset: str) -> Files:
    """Unpack the photographs of a subset."""
    name = re.compile(rf"(?:.+/)?({subset}/COCO_{subset}_\d{{12}}\.jpg)")

    def wanted(member: str) -> str | None:
        match = name.fullmatch(member)
        return match[1] if match else None

    files = extract(job.archives[archive], wanted, job.folder, job.unpacking(), keep=job.keep)
    return _some(files, job.archives[archive], f"photograph of {subset}")


def unpack_annotations(job: Job) -> Files:
    """Unpack the two files of instances; captions and keypoints stay where they are."""

    def wanted(member: str) -> str | None:
        return member if member in _INSTANCES else None

    archive = job.archives["coco-annotations"]
    return _some(extract(archive, wanted, job.folder, job.unpacking(), keep=job.keep), archive, "instances")


def derive(job: Job) -> Files:
    """Derive masks, lists and image-level labels."""
    return derive_coco(job.folder, job.workers, lambda done, total: job.progress(done, total, "masks"))


def find_images(folder: Path, subset: str) -> Files | None:
    """Find the photographs of a subset where somebody has unpacked them."""
    place = image_folder(folder, subset)
    if not place.is_dir():
        return None
    with os.scandir(place) as entries:
        found = {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".jpg")}
    below = place.relative_to(folder)
    return {str(below / name): size for name, size in found.items()} or None


def find_annotations(folder: Path) -> Files | None:
    """Find the two files of instances where somebody has unpacked them."""
    if not all((folder / name).is_file() for name in _INSTANCES):
        return None
    return {name: (folder / name).stat().st_size for name in _INSTANCES}


def rows(folder: Path) -> list[SplitRow]:
    """Say which splits are there; all have all their masks."""
    coco = COCO(folder)
    return [
        SplitRow(split, len(coco.ids(split)), len(coco.ids(split)), coco.has_official_ids(split))
        for split in coco.splits
    ]


def _some(files: Files, archive: Path, what: str) -> Files:
    if not files:
        raise InputError(f"the archive {archive} holds no {what}: fetch it again from its official source")
    return files


def _image_step(name: str, archive: str, subset: str) -> Step:
    return Step(
        name,
        f"photographs of {subset}",
        partial(unpack_images, archive=archive, subset=subset),
        archives=(archive,),
        growth=1.01,
        adopt=partial(find_images, subset=subset),
    )


RECIPE = Recipe(
    lambda root: root,
    (
        Step(
            "annotations",
            "instances of both subsets",
            unpack_annotations,
            archives=("coco-annotations",),
            growth=6.0,  # with the masks that are derived from them
            adopt=find_annotations,
        ),
        _image_step("train_images", "coco-train-images", "train2014"),
        _image_step("val_images", "coco-val-images", "val2014"),
        Step("masks", "masks, lists and labels", derive, rule=RULE),
    ),
    rows,
)
