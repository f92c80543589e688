"""Datasets of single objects with boxes, for localisation: CUB-200-2011 and ILSVRC.

Both are made of text files with a line per image or box:

    CUB_200_2011/{images,image_class_labels,train_test_split,bounding_boxes,classes}.txt, images/<path>
    <root>/metadata/{train,val,test}/{image_ids,class_labels,localization}.txt, <root>/<path>     (ILSVRC)

The first is the official layout (Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011), the second that
of the public evaluation code of weakly supervised localisation (Choe et al., CVPR 2020). An image's id is its
path without the suffix, `/` written as `__`, as ids name files.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.bad_file import reading
from harness.data.dataset import Dataset, LabelSource
from harness.data.fingerprint import Fact, OnProgress, attempt, content_hash
from harness.errors import InputError

Box = tuple[int, int, int, int]


def flat_id(path: str) -> str:
    """An image's id from its path below the folder of images."""
    return str(PurePosixPath(path).with_suffix("")).replace("/", "__")


def read_rows(path: Path, columns: int, separator: str | None) -> list[list[str]]:
    """Read a text file with the same number of values on each line, not counting empty lines.

    Raises:
        InputError: it is missing or empty, or names the line with another number of values.
    """
    with reading("metadata", path, "pass the folder that holds the dataset with --data-root"):
        lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        values = line.split(separator)
        if not line.strip():
            continue
        if len(values) != columns:
            raise InputError(
                f"line {number} of {path} has {len(values)} values instead of {columns}: correct the file"
            )
        rows.append([value.strip() for value in values])
    if not rows:
        raise InputError(f"the metadata {path} is empty: replace the file")
    return rows


def whole_numbers(path: Path, values: Iterable[str]) -> list[int]:
    """Read numbers, cut to whole ones as the public code does.

    Raises:
        InputError: one is none.
    """
    given = list(values)
    try:
        return [int(float(value)) for value in given]
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path} has '{','.join(given)}' where numbers should be: correct the file"
        ) from error


@dataclass
class Metadata:
    """What the text files say of a split or of a dataset, by image id."""

    paths: dict[str, str] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)


class BoxedDataset(Dataset):
    """Images of one class each, with boxes and without masks."""

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        super().__init__(root, cache, labels)
        if not self.root.is_dir():
            raise InputError(f"there is no folder {root}: pass the folder of dataset '{self.name}'")

    @abstractmethod
    def _metadata(self, image_id: str) -> Metadata:
        """What is known of an image."""

    @abstractmethod
    def _boxes_path(self, image_id: str) -> Path:
        """The file of its boxes, for messages."""

    def needs_masks(self, split: str) -> bool:
        """Return False: there are none."""
        return False

    def mask_path(self, image_id: str, split: str) -> Path:
        return self.root / "masks" / f"{image_id}.png"

    def ground_truth(self, split: str) -> str:
        return "boxes"

    def _known(self, image_id: str, what: Mapping[str, int], path: Path) -> int:
        index = what.get(image_id)
        if index is None or not 0 <= index < self.num_classes:
            problem = "no class" if index is None else f"class {index}"
            raise InputError(
                f"{path} gives image {image_id} {problem}, but classes go from 0 to {self.num_classes - 1} "
                "as counted here: correct the file"
            )
        return index

    def _class_indices(self, image_id: str) -> list[int]:
        known = self._metadata(image_id).classes
        return [self._known(image_id, known, self.annotation_path(image_id))]

    def _read_labels(self, path: Path) -> list[int]:
        raise NotImplementedError("one file has the labels of all images")

    def label_facts(self, ids: Sequence[str], progress: OnProgress | None = None) -> list[Fact | InputError]:
        return [attempt(self._class_indices, image_id) for image_id in ids]

    def boxes(self, image_id: str, index: int) -> NDArray[np.int64]:
        """Return the boxes of an image, which are all of its one class."""
        boxes = np.array(self._metadata(image_id).boxes.get(image_id, []), np.int64).reshape(-1, 4)
        if not len(boxes) or (boxes[:, 2:] < boxes[:, :2]).any():
            raise InputError(
                f"{self._boxes_path(image_id)} has no box of image {image_id} whose right and bottom are not "
                "before its left and top: correct the file"
            )
        return boxes

    def fingerprint(self, splits: Iterable[str], *, progress: OnProgress | None = None) -> str:
        """Return the hash of other datasets, and of the boxes."""
        wanted = sorted({*splits})
        lines = [
            f"{image_id} {self._metadata(image_id).boxes.get(image_id)}"
            for split in wanted
            for image_id in self.ids(split)
        ]
        return content_hash([super().fingerprint(wanted, progress=progress), *lines])


class CUB(BoxedDataset):
    """CUB-200-2011: 5,994 images to train on, 5,794 to test on, 200 kinds of birds, a box each."""

    name = "cub"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    classes: ClassVar[tuple[str, ...]] = ("background", *(f"bird {index + 1}" for index in range(200)))

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        below = root / "CUB_200_2011"
        super().__init__(below if below.is_dir() else root, cache, labels)

    def _table(self, name: str, columns: int) -> dict[str, list[str]]:
        """Lines of a file by the number they begin with."""
        return {row[0]: row[1:] for row in read_rows(self.root / f"{name}.txt", columns, None)}

    @cached_property
    def _numbers(self) -> dict[str, str]:
        """Number of each image in the text files, by its id."""
        return {flat_id(path): number for number, (path,) in self._table("images", 2).items()}

    @cached_property
    def _all(self) -> Metadata:
        images = self._table("images", 2)
        path = self.root / "image_class_labels.txt"
        classes = self._table("image_class_labels", 2)
        boxes = self._table("bounding_boxes", 5)
        found = Metadata()
        for image_id, number in self._numbers.items():
            found.paths[image_id] = images[number][0]
            if number in classes:
                found.classes[image_id] = whole_numbers(path, classes[number])[0] - 1
            if number in boxes:
                x, y, width, height = whole_numbers(self._boxes_path(image_id), boxes[number])
                found.boxes[image_id] = [(x, y, x + width, y + height)]
        return found

    def _metadata(self, image_id: str) -> Metadata:
        return self._all

    def _boxes_path(self, image_id: str) -> Path:
        return self.root / "bounding_boxes.txt"

    def image_path(self, image_id: str) -> Path:
        known = self._all.paths
        return self.root / "images" / known.get(image_id, f"{image_id}.jpg")

    def annotation_path(self, image_id: str) -> Path:
        return self.root / "image_class_labels.txt"

    def list_path(self, split: str) -> Path:
        return self.root / "train_test_split.txt"

    def _read_ids(self, split: str) -> list[str]:
        training = self._table("train_test_split", 2)
        wanted = "1" if split == "train" else "0"
        ids = [i for i, number in self._numbers.items() if training.get(number, [""])[0] == wanted]
        if not ids:
            raise InputError(f"{self.list_path(split)} puts no image into split '{split}': replace the file")
        return ids


class ILSVRC(BoxedDataset):
    """ILSVRC as the public evaluation code lists it: 1,000 classes, several boxes per image."""

    name = "ilsvrc"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    classes: ClassVar[tuple[str, ...]] = ("background", *(f"class {index}" for index in range(1000)))

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        super().__init__(root, cache, labels)
        self._splits: dict[str, Metadata] = {}
        self._split_of: dict[str, str] = {}

    def _file(self, split: str, name: str) -> Path:
        return self.root / "metadata" / split / f"{name}.txt"

    def _split(self, split: str) -> Metadata:
        """What the files of a split say; boxes may be missing, as in train."""
        if split in self._splits:
            return self._splits[split]
        found = Metadata()
        for (path,) in read_rows(self._file(split, "image_ids"), 1, None):
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise InputError(f"{self._file(split, 'image_ids')} names '{path}', outside of the dataset")
            found.paths[flat_id(path)] = path
        labels = self._file(split, "class_labels")
        for path, index in read_rows(labels, 2, ","):
            (found.classes[flat_id(path)],) = whole_numbers(labels, [index])
        located = self._file(split, "localization")
        for path, *ends in read_rows(located, 5, ",") if located.exists() else []:
            x0, y0, x1, y1 = whole_numbers(located, ends)
            found.boxes.setdefault(flat_id(path), []).append((x0, y0, x1, y1))
        self._splits[split] = found
        self._split_of |= dict.fromkeys(found.paths, split)
        return found

    def _metadata(self, image_id: str) -> Metadata:
        return self._split(self._owner(image_id))

    def _owner(self, image_id: str) -> str:
        for split in self.splits:
            if image_id not in self._split_of and self._file(split, "image_ids").exists():
                self._split(split)
        return self._split_of.get(image_id, self.splits[-1])

    def _boxes_path(self, image_id: str) -> Path:
        return self._file(self._owner(image_id), "localization")

    def image_path(self, image_id: str) -> Path:
        return self.root / self._metadata(image_id).paths.get(image_id, f"{image_id}.JPEG")

    def annotation_path(self, image_id: str) -> Path:
        return self._file(self._owner(image_id), "class_labels")

    def list_path(self, split: str) -> Path:
        return self._file(split, "image_ids")

    def _read_ids(self, split: str) -> list[str]:
        return list(self._split(split).paths)
