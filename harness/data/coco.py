"""MS COCO 2014 with the semantic masks, lists and image-level labels that are derived from its instances.

    annotations/instances_{train,val}2014.json
    {train,val}2014/<id>.jpg                        or below JPEGImages/
    SegmentationClass/{train,val}2014/<id>.png      gray masks, labels 0 to 80; derived, as is what follows
    ImageSets/{train,val,val_all,val_part}.txt
    ImageLabels/{annotations,masks}.txt
    coco.json                                       what all this was derived from

`harness.data.coco_prepare` derives. Source: T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV
2014; splits, masks and labels as the literature on weak supervision has them (mcc spec section 5).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from harness.data.coco_classes import CLASSES
from harness.data.dataset import Dataset, LabelSource
from harness.data.fingerprint import Fact, OnProgress, attempt
from harness.data.label_list import read_label_list
from harness.data.official_splits import COCO_SPLITS, OfficialSplits
from harness.data.voc import read_id_list
from harness.errors import InputError

MARKER = "coco.json"  # written last; without it not everything is derived
SUBSETS = ("train2014", "val2014")  # COCO's own parts; an image's id names the one it belongs to
SPLITS = ("train", "val", "val_all", "val_part")
VAL_PART = 5000  # images of val_part

_ID = re.compile(r"COCO_(train2014|val2014)_\d{12}")


class COCO(Dataset):
    """MS COCO 2014, 80 classes.

    `train` and `val` are the images with at least one annotation, ascending; `val_part` is the first 5,000 of
    `val`; `val_all` is every image of val2014, those of `val` first.

    Args:
        root: the folder that holds `annotations` and the images.

    Raises:
        InputError: no COCO is there, or its masks and lists were not derived yet.
    """

    name = "coco"
    classes: ClassVar[tuple[str, ...]] = CLASSES
    splits: ClassVar[tuple[str, ...]] = SPLITS
    official_splits: OfficialSplits = COCO_SPLITS

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        super().__init__(find_coco(root), cache, labels)
        if not (self.root / MARKER).is_file():
            raise InputError(
                f"the masks and lists of the COCO in {self.root} are not derived yet ({MARKER} is missing): "
                f"type `harness data prepare coco --root {shlex.quote(str(self.root))}`"
            )
        self._image_folders = {subset: image_folder(self.root, subset) for subset in SUBSETS}

    def image_path(self, image_id: str) -> Path:
        return self._image_folders[subset_of(image_id)] / f"{image_id}.jpg"

    def annotation_path(self, image_id: str) -> Path:
        """Return the file that holds the image-level labels of all images."""
        return label_path(self.root, self.labels)

    def mask_path(self, image_id: str, split: str) -> Path:
        return mask_path(self.root, image_id)

    def list_path(self, split: str) -> Path:
        return list_path(self.root, split)

    def ground_truth(self, split: str) -> str:
        return "SegmentationClass: instances, the first annotation on top"

    def _read_ids(self, split: str) -> list[str]:
        path = list_path(self.root, split)
        ids = read_id_list(path, f"split '{split}' of dataset '{self.name}'")
        subset = "train2014" if split == "train" else "val2014"
        wrong = [image_id for image_id in ids if subset_of(image_id) != subset]
        if wrong:
            raise InputError(f"the list {path} names {wrong[0]}, which is not of {subset}: remove the line")
        return ids

    @cached_property
    def _label_list(self) -> Mapping[str, list[int]]:
        return read_label_list(label_path(self.root, self.labels), self.num_classes)

    def _class_indices(self, image_id: str) -> list[int]:
        """Return the image's classes; none for an image without annotations, of which val_all has some."""
        found = self._label_list.get(image_id)
        if found is None:
            raise InputError(
                f"{label_path(self.root, self.labels)} has no line for image {image_id}: prepare the dataset "
                "again or correct the list"
            )
        return found

    def label_facts(self, ids: Sequence[str], progress: OnProgress | None = None) -> list[Fact | InputError]:
        return [attempt(self._class_indices, image_id) for image_id in ids]

    def _read_labels(self, path: Path) -> list[int]:
        raise NotImplementedError("COCO has the labels of all images in one file")


def find_coco(root: Path) -> Path:
    """Return the folder of COCO 2014, which is `root` itself.

    Raises:
        InputError: none is there.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: pass the folder that holds COCO's annotations")
    if not (root / "annotations").is_dir() and not (root / MARKER).is_file():
        raise InputError(
            f"there is no COCO 2014 in {root}: looked for the folder annotations in it; pass the folder that "
            "holds annotations, train2014 and val2014"
        )
    return root


def subset_of(image_id: str) -> str:
    """Return `train2014` or `val2014` for an image id such as COCO_val2014_000000000042.

    Raises:
        InputError: it is no id of COCO 2014.
    """
    match = _ID.fullmatch(image_id)
    if match is None:
        raise InputError(
            f"'{image_id}' is no image of COCO 2014, whose ids are like COCO_val2014_000000000042: correct "
            "the list"
        )
    return match[1]


def image_folder(root: Path, subset: str) -> Path:
    """Return the folder of a subset's images: below JPEGImages where there is one, else below the root."""
    below = root / "JPEGImages" / subset
    return below if below.is_dir() else root / subset


def mask_path(root: Path, image_id: str) -> Path:
    """Return the file of an image's semantic mask."""
    return root / "SegmentationClass" / subset_of(image_id) / f"{image_id}.png"


def list_path(root: Path, split: str) -> Path:
    """Return the file with the ids of a split."""
    return root / "ImageSets" / f"{split}.txt"


def label_path(root: Path, source: LabelSource) -> Path:
    """Return the file with the image-level labels of all images, as annotations or masks have them."""
    return root / "ImageLabels" / f"{source}.txt"
