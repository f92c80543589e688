"""PASCAL VOC 2012 in its official layout, with SBD's masks where they are there.

    VOC2012/JPEGImages/<id>.jpg, Annotations/<id>.xml
    VOC2012/ImageSets/Segmentation/{train,val,trainval,test,train_aug}.txt
    VOC2012/SegmentationClass/<id>.png      VOC's own masks: train and val
    VOC2012/SegmentationClassAug/<id>.png   masks of train_aug: VOC's and SBD's

Sources: M. Everingham et al., The PASCAL Visual Object Classes Challenge 2012; B. Hariharan et al., Semantic
contours from inverse detectors, ICCV 2011 (SBD).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.bad_file import reading
from harness.data.dataset import Dataset, LabelSource
from harness.data.official_splits import VOC_SPLITS, OfficialSplits
from harness.errors import InputError, nearest
from harness.files import atomic_file

_LISTS = Path("ImageSets") / "Segmentation"
_BOX_ENDS = ("xmin", "ymin", "xmax", "ymax")


class VOC(Dataset):
    """PASCAL VOC 2012.

    Args:
        root: the folder VOC2012, VOCdevkit, or the one that holds VOCdevkit.

    Raises:
        InputError: no VOC 2012 is there.
    """

    name = "voc"
    classes: ClassVar[tuple[str, ...]] = (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
        "tvmonitor",
    )  # fmt: skip
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "trainval", "train_aug", "test")
    unlabelled_splits: ClassVar[tuple[str, ...]] = ("test",)
    optional_splits: ClassVar[tuple[str, ...]] = ("trainval", "train_aug", "test")
    official_splits: OfficialSplits = VOC_SPLITS
    gray_images = False
    image_suffix: ClassVar[str] = ".jpg"

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        super().__init__(find_voc(root), cache, labels)
        # Joined once: a check asks for tens of thousands of paths.
        self._images = self.root / "JPEGImages"
        self._annotations = self.root / "Annotations"
        self._masks = self.root / "SegmentationClass"
        self._aug_masks = self.root / "SegmentationClassAug"

    def resolve_split(self, split: str) -> str:
        """Return `train` for `train_aug` where the latter has no list, and give notice of it."""
        split = super().resolve_split(split)
        if split != "train_aug" or self.list_path(split).is_file():
            return split
        notice = (
            f"split 'train_aug' is the smaller 'train' here, because {self.list_path('train_aug')} is "
            "missing; results cannot be compared with published ones"
        )
        if notice not in self.notices:
            self.notices.append(notice)
        return "train"

    def image_path(self, image_id: str) -> Path:
        return self._images / f"{image_id}{self.image_suffix}"

    def annotation_path(self, image_id: str) -> Path:
        return self._annotations / f"{image_id}.xml"

    def mask_path(self, image_id: str, split: str) -> Path:
        """Return SBD's mask for `train_aug` where there is one, VOC's own otherwise."""
        own = self._masks / f"{image_id}.png"
        if split == "train_aug" and self._takes_aug_masks:
            augmented = self._aug_masks / f"{image_id}.png"
            return augmented if augmented.exists() or not own.exists() else own
        return own

    def ground_truth(self, split: str) -> str:
        aug = split == "train_aug" and self._takes_aug_masks
        return "SegmentationClassAug" if aug else "SegmentationClass"

    def needs_masks(self, split: str) -> bool:
        """Return whether every image of a split should have a mask; without SBD's, train_aug need not."""
        return super().needs_masks(split) and (split != "train_aug" or self._takes_aug_masks)

    def ids_with_masks(self, split: str) -> set[str] | None:
        """Return the ids of the masks in the split's folder that do not belong to the other split there."""
        others = {"train": "val", "val": "train", "train_aug": "val"}
        if split not in others or not self.has_list(others[split]):
            return None
        folder = self._aug_masks if split == "train_aug" else self._masks
        return {path.stem for path in folder.glob("*.png")} - {*self.ids(others[split])}

    @cached_property
    def _takes_aug_masks(self) -> bool:
        return self._aug_masks.is_dir() and self.has_list("train_aug")

    def list_path(self, split: str) -> Path:
        return self.root / _LISTS / f"{split}.txt"

    def _read_ids(self, split: str) -> list[str]:
        return read_id_list(self.list_path(split), f"split '{split}' of dataset '{self.name}'")

    def _read_labels(self, path: Path) -> list[int]:
        return read_object_classes(path, self.classes)

    def boxes(self, image_id: str, index: int) -> NDArray[np.int64]:
        """Return the boxes of a class; VOC counts pixels from 1."""
        return read_object_boxes(self.annotation_path(image_id), self.classes[index + 1])


def find_voc(root: Path) -> Path:
    """Return the folder of VOC 2012 at or below `root`.

    Raises:
        InputError: none is there.
    """
    if not root.is_dir():
        raise InputError(
            f"there is no folder {root}: pass the folder that holds VOCdevkit/VOC2012 with --data-root, or "
            "make it with `harness data prepare voc`"
        )
    candidates = [root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"]
    for folder in candidates:
        if (folder / _LISTS).is_dir():
            return folder
    raise InputError(
        f"there is no VOC 2012 in {root}: looked for {_LISTS} in it, in VOC2012 and in VOCdevkit/VOC2012; "
        "pass the folder that holds VOCdevkit with --data-root, or make it with `harness data prepare voc`"
    )


def read_id_list(path: Path, what: str) -> list[str]:
    """Read image ids, one per line: `2007_000032`, or SBD's style with paths of the image and its mask.

    Raises:
        InputError: the list is missing, empty or names an id twice.
    """
    if not path.exists():
        raise InputError(f"{what} has no list: {path} is missing; `harness data prepare` makes it")
    with reading("list", path):
        lines = path.read_text(encoding="utf-8").split("\n")
    ids = [PurePosixPath(line.split()[0]).stem for line in lines if line.strip()]
    if not ids:
        raise InputError(f"the list {path} of {what} is empty: replace the file")
    if len(set(ids)) < len(ids):
        twice = next(image_id for image_id, count in Counter(ids).items() if count > 1)
        raise InputError(f"the list {path} of {what} names image {twice} twice: remove one of the two lines")
    return ids


def write_id_list(path: Path, ids: Iterable[str]) -> None:
    """Write image ids, one per line; the list appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, "w") as file:
        file.writelines(f"{image_id}\n" for image_id in ids)


def read_object_classes(path: Path, classes: Sequence[str]) -> list[int]:
    """Return the classes of all objects in a VOC annotation, difficult ones included.

    Args:
        path: XML file.
        classes: names, `background` first.

    Returns:
        Indices without background (first class 0), ascending, each once.

    Raises:
        InputError: the file is missing or no XML, has no object, or an object's class is unknown.
    """
    with reading("annotation", path, "image-level labels come from it; `harness data prepare` makes it"):
        root = ElementTree.parse(path).getroot()
    names = {(element.findtext("name") or "").strip() for element in root.findall("object")}
    unknown = sorted(names - set(classes[1:]))
    if unknown:
        raise InputError(
            f"the annotation {path} names class '{unknown[0]}', which the dataset has not"
            f"{nearest(unknown[0], classes[1:])}: correct the file"
        )
    if not names:
        raise InputError(
            f"the annotation {path} has no object, so its image has no label: correct the file or the list"
        )
    return sorted(classes.index(name) - 1 for name in names)


def read_object_boxes(path: Path, name: str) -> NDArray[np.int64]:
    """Read the boxes of all objects of a class in a VOC annotation: (N, 4), counted from 0, ends included.

    Raises:
        InputError: the file is missing or no XML, has no object of the class, or a box that is none.
    """
    with reading("annotation", path, "boxes come from it; `harness data prepare` makes it"):
        root = ElementTree.parse(path).getroot()
    found = [o for o in root.findall("object") if (o.findtext("name") or "").strip() == name]
    try:
        ends = [[float(o.findtext(f"bndbox/{end}") or "") for end in _BOX_ENDS] for o in found]
        boxes = np.array(ends, np.float64).reshape(-1, 4).astype(np.int64) - 1
    except (ValueError, OverflowError):
        boxes = np.zeros((0, 4), np.int64)
    if not len(boxes) or (boxes[:, 2:] < boxes[:, :2]).any():
        raise InputError(
            f"the annotation {path} has no box of '{name}' with xmin, ymin, xmax and ymax in this order: "
            "correct the file"
        )
    return boxes
