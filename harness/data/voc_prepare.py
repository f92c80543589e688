"""How VOC 2012 is made from its archives and SBD's (layout: see `harness.data.voc`).

- `trainval`: images, annotations, VOC's own masks and lists, as they are in VOC's archive.
- `test`: the images of the segmentation task's test list, for those who have fetched the archive.
- `train_aug`: SegmentationClassAug and the list. The list is VOC's train and both lists of SBD without VOC's
  val, sorted, which is the order of the literature's. A mask is VOC's own where there is one.
- `mask_labels`: the classes that each mask of train_aug and val shows, as a text file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from harness.data.archive import extract, inside, members
from harness.data.fingerprint import whole
from harness.data.label_list import write_label_list
from harness.data.official_splits import VOC_SPLITS
from harness.data.palette import IGNORE, read_mask
from harness.data.recipe import NOTES, Files, Job, Recipe, SplitRow, Step
from harness.data.sbd import convert_masks
from harness.data.voc import VOC, read_id_list, write_id_list
from harness.errors import InputError
from harness.files import atomic_file
from harness.processes import map_unordered

_LISTS = "ImageSets/Segmentation"
_AUG = "SegmentationClassAug"
_BELOW = re.compile(r"(?:.+/)?VOC2012/(.+)")
_TRAINVAL = re.compile(
    r"JPEGImages/\w+\.jpg|Annotations/\w+\.xml|SegmentationClass/\w+\.png"
    rf"|{_LISTS}/(?:train|val|trainval)\.txt"
)
_TEST_LIST = f"{_LISTS}/test.txt"


def voc_folder(root: Path) -> Path:
    """Return where VOC 2012 is, or is to be, for the root that a user names."""
    candidates = [root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"]
    for folder in candidates:
        if (folder / NOTES).is_dir() or (folder / _LISTS).is_dir():
            return folder
    return candidates[{"VOC2012": 0, "VOCdevkit": 1}.get(root.name, 2)]


def unpack_trainval(job: Job) -> Files:
    """Unpack VOC's own archive."""

    def wanted(name: str) -> str | None:
        below = _BELOW.fullmatch(name)
        return below[1] if below and _TRAINVAL.fullmatch(below[1]) else None

    files = extract(job.archives["voc-trainval"], wanted, job.folder, job.unpacking(), keep=job.keep)
    _require_images(job.folder, [*_ids(job.folder, "train"), *_ids(job.folder, "val")], masks=True)
    return files


def unpack_test(job: Job) -> Files:
    """Unpack the images of the test list; the archive has those of the other tasks as well."""
    archive = job.archives["voc-test"]
    content = _test_list(archive)
    ids = set(content.decode().split())

    def wanted(name: str) -> str | None:
        below = _BELOW.fullmatch(name)
        folder, _, file = below[1].rpartition("/") if below else ("", "", "")
        return f"JPEGImages/{file}" if folder == "JPEGImages" and file.removesuffix(".jpg") in ids else None

    files = extract(archive, wanted, job.folder, job.unpacking(), keep=job.keep)
    if missing := sorted(ids - {Path(name).stem for name in files}):
        raise InputError(
            f"the archive {archive} lacks {len(missing)} images of its own test list, such as {missing[0]}: "
            "it is cut short, fetch it again"
        )
    with atomic_file(inside(job.folder, _TEST_LIST)) as file:
        file.write(content)
    return files | {_TEST_LIST: len(content)}


def make_train_aug(job: Job) -> Files:
    """Make SegmentationClassAug and the list of train_aug from VOC's masks and SBD's archive."""
    train, val = set(_ids(job.folder, "train")), set(_ids(job.folder, "val"))
    masks = inside(job.folder, f"{_AUG}/any").parent
    on_bytes = job.unpacking()
    sbd = convert_masks(job.archives["sbd"], masks, train | val, job.workers, on_bytes, keep=job.keep)
    for image_id in train | val:
        target = masks / f"{image_id}.png"
        if not (job.keep and target.exists()):
            with atomic_file(target, durable=False) as file:
                file.write((job.folder / "SegmentationClass" / target.name).read_bytes())
    train_aug = sorted((sbd | train) - val)
    _require_images(job.folder, train_aug)
    write_id_list(job.folder / _LISTS / "train_aug.txt", train_aug)
    names = [f"{_AUG}/{image_id}.png" for image_id in (*train_aug, *val)]
    return _sizes(job.folder, [f"{_LISTS}/train_aug.txt", *names])


def note_mask_labels(job: Job) -> Files:
    """Write down which classes each mask shows."""
    ids = [*_ids(job.folder, "train_aug"), *_ids(job.folder, "val")]
    voc = VOC(job.folder)
    paths = [voc.mask_path(image_id, "train_aug") for image_id in ids]
    labels: dict[str, list[int]] = {}
    for path, found in map_unordered(_labels_of_mask, paths, job.workers, _nothing, ()):
        labels[path.stem] = found
        job.progress(len(labels), len(paths), "masks")
    target = inside(job.folder, "ImageLabels/masks.txt")
    write_label_list(target, ((image_id, labels[image_id]) for image_id in ids))
    return _sizes(job.folder, ["ImageLabels/masks.txt"])


def find_trainval(folder: Path) -> Files | None:
    """Find VOC's own files where somebody has unpacked them.

    Raises:
        InputError: the folder holds another dataset in VOC's layout.
    """
    lists = [folder / _LISTS / f"{split}.txt" for split in ("train", "val")]
    if not all(path.is_file() for path in lists):
        return None
    voc = VOC(folder)
    foreign = [path for path in lists if not voc.has_official_ids(path.stem)]
    if foreign:
        raise InputError(
            f"{folder} holds another dataset in VOC's layout, since its {foreign[0].name} is not VOC's: "
            "choose another --root"
        )
    _require_images(folder, [*_ids(folder, "train"), *_ids(folder, "val")], masks=True)
    return _sizes(folder, [f"{_LISTS}/train.txt", f"{_LISTS}/val.txt"])


def find_train_aug(folder: Path) -> Files | None:
    """Find the list and the masks of train_aug where somebody has put the official ones.

    Raises:
        InputError: there are others.
    """
    has_list = (folder / _LISTS / "train_aug.txt").is_file()
    if not has_list and not (folder / _AUG).is_dir():
        return None
    if has_list and (voc := VOC(folder)).has_official_ids("train_aug"):
        ids = voc.ids("train_aug")
        files = [f"{_AUG}/{image_id}.png" for image_id in ids]
        if all((folder / name).is_file() for name in files):
            masks = whole(voc.mask_facts(ids, "train_aug", required=True))
            if voc.masks_hash(ids, masks) == VOC_SPLITS["train_aug"].masks:
                return _sizes(folder, [f"{_LISTS}/train_aug.txt", *files])
    raise InputError(
        f"{folder} has a train_aug of which list or masks are not the official ones: move {_AUG} and "
        f"{_LISTS}/train_aug.txt away to have them made"
    )


def rows(folder: Path) -> list[SplitRow]:
    """Say which splits are there."""
    voc = VOC(folder)
    found = []
    for split in filter(voc.has_list, voc.splits):
        ids = voc.ids(split)
        masks = sum(voc.mask_path(image_id, split).is_file() for image_id in ids)
        found.append(SplitRow(split, len(ids), masks, voc.has_official_ids(split)))
    return found


RECIPE = Recipe(
    voc_folder,
    (
        Step(
            "trainval",
            "images, annotations and masks of VOC",
            unpack_trainval,
            archives=("voc-trainval",),
            growth=1.0,
            adopt=find_trainval,
        ),
        Step(
            "test",
            "images of VOC's test split",
            unpack_test,
            archives=("voc-test",),
            growth=0.1,
            by_hand=True,
        ),
        Step(
            "train_aug",
            "train_aug of VOC and SBD",
            make_train_aug,
            archives=("sbd",),
            growth=0.07,
            adopt=find_train_aug,
        ),
        Step("mask_labels", "image-level labels of the masks", note_mask_labels),
    ),
    rows,
)


def _test_list(archive: Path) -> bytes:
    for member in members(archive):
        below = _BELOW.fullmatch(member.name)
        if below and below[1] == _TEST_LIST:
            return member.content()
    raise InputError(f"the archive {archive} has no {_TEST_LIST}: fetch VOC's test data again")


def _ids(folder: Path, split: str) -> list[str]:
    return read_id_list(folder / _LISTS / f"{split}.txt", f"split '{split}' of dataset '{VOC.name}'")


def _require_images(folder: Path, ids: Iterable[str], masks: bool = False) -> None:
    """Check that images of VOC have what they must have.

    Raises:
        InputError: names the first file that is not there.
    """
    for image_id in ids:
        names = [f"JPEGImages/{image_id}.jpg", f"Annotations/{image_id}.xml"]
        for name in [*names, *([f"SegmentationClass/{image_id}.png"] if masks else [])]:
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder} has no {name}, although its list names the image: the archive of VOC is not "
                    "whole, or was not unpacked wholly; choose another --root"
                )


def _sizes(folder: Path, names: Iterable[str]) -> Files:
    return {name: (folder / name).stat().st_size for name in names}


def _labels_of_mask(path: Path) -> list[int]:
    found = np.unique(read_mask(path))
    return [int(label) for label in found if label not in (0, IGNORE)]


def _nothing() -> None:
    """Workers need no preparation."""
