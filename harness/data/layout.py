"""Where a dataset's files lie, what its splits are, and how an image, its labels and its mask are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.image_file import image_size, read_rgb
from harness.data.label_list import read_label_list
from harness.data.palette import read_mask, require_classes, voc_palette
from harness.errors import InputError, nearest

LabelSource = Literal["annotations", "masks"]
"""Where image-level labels come from: the objects that are annotated, or the classes that masks show."""


class Layout(ABC):
    """A dataset on disk, file by file; `harness.data.dataset.Dataset` is the whole.

    A subclass must give `name`, `classes`, `splits` and the abstract methods; all paths are its own affair.
    It may give `unlabelled_splits` (without labels and masks by nature), `optional_splits` (whose lists may
    be absent) and `gray_images` (whether some of the official images are gray).

    Args:
        root: the dataset's own folder.
        labels: where image-level labels come from.

    Attributes:
        name: as in `--dataset`.
        classes: names, `background` first; a mask's label is the index into them.
        splits: names of the splits that may be asked for.
        palette: (256, 3) uint8 RGB colours of masks.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    splits: ClassVar[tuple[str, ...]]
    unlabelled_splits: ClassVar[tuple[str, ...]] = ()
    optional_splits: ClassVar[tuple[str, ...]] = ()
    gray_images: ClassVar[bool] = True

    def __init__(self, root: Path, labels: LabelSource = "annotations") -> None:
        self.root = root.resolve()
        self.labels: LabelSource = labels
        self.palette = voc_palette()
        self._ids: dict[str, tuple[str, ...]] = {}
        self._labels: dict[str, NDArray[np.float32]] = {}

    @property
    def num_classes(self) -> int:
        """Number of classes without background."""
        return len(self.classes) - 1

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """Return the image's file."""

    @abstractmethod
    def annotation_path(self, image_id: str) -> Path:
        """Return the file that holds the image-level labels."""

    @abstractmethod
    def mask_path(self, image_id: str, split: str) -> Path:
        """Return the file of the image's mask in this split; it need not exist."""

    @property
    def mask_labels_path(self) -> Path:
        """The file of image-level labels that were derived from masks when the dataset was prepared."""
        return self.root / "ImageLabels" / "masks.txt"

    @abstractmethod
    def list_path(self, split: str) -> Path:
        """Return the file of a split's own list; it need not exist."""

    @abstractmethod
    def ground_truth(self, split: str) -> str:
        """Return the name of the masks that a split is evaluated on, for protocols."""

    @abstractmethod
    def _read_ids(self, split: str) -> Sequence[str]:
        """Read the ids of a resolved split, or raise InputError."""

    @abstractmethod
    def _read_labels(self, path: Path) -> list[int]:
        """Read class indices without background, ascending, from an annotation, or raise InputError."""

    def resolve_split(self, split: str) -> str:
        """Return the split whose list stands for `split`, with a notice where that is another one.

        Raises:
            InputError: the dataset has no such split.
        """
        if split not in self.splits:
            raise InputError(
                f"dataset '{self.name}' has no split '{split}'{nearest(split, self.splits)}; "
                f"the splits are {', '.join(self.splits)}"
            )
        return split

    def has_list(self, split: str) -> bool:
        """Return whether a split has a list of its own."""
        return self.list_path(split).exists()

    def needs_masks(self, split: str) -> bool:
        """Return whether every image of a split should have a mask."""
        return split not in self.unlabelled_splits

    def ids_with_masks(self, split: str) -> set[str] | None:
        """Return the ids that the masks on disk suggest for a split; None where they tell nothing."""
        return None

    def ids(self, split: str) -> tuple[str, ...]:
        """Return the image ids of a split, in the order of its list.

        Raises:
            InputError: no such split, its list is missing or empty, or an id occurs twice.
        """
        resolved = self.resolve_split(split)
        if resolved not in self._ids:
            self._ids[resolved] = tuple(self._read_ids(resolved))
        return self._ids[resolved]

    def read_image(self, image_id: str) -> NDArray[np.uint8]:
        """Return the stored pixels, (H, W, 3) uint8 RGB (errors: see `read_rgb`)."""
        return read_rgb(self.image_path(image_id))

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Return (H, W) from the file's header."""
        return image_size(self.image_path(image_id))

    def image_labels(self, image_id: str) -> NDArray[np.float32]:
        """Return the image-level labels: (C,) float32 multi-hot, C without background.

        With `labels="masks"` they come from a file that was derived before; masks are not opened.

        Raises:
            InputError: the annotation is missing, broken, empty or names an unknown class.
        """
        if image_id not in self._labels:
            labels = np.zeros(self.num_classes, np.float32)
            labels[self._class_indices(image_id)] = 1
            labels.flags.writeable = False  # the same array is given to every caller
            self._labels[image_id] = labels
        return self._labels[image_id]

    def read_mask(self, image_id: str, split: str) -> NDArray[np.uint8]:
        """Return the ground truth: (H, W) uint8, 0 background, class index + 1, 255 ignore.

        Raises:
            InputError: the mask is missing, unreadable or holds a label that is no class.
        """
        path = self.mask_path(image_id, split)
        mask = read_mask(path)
        require_classes(path, mask.tobytes(), self.num_classes)
        return mask

    def boxes(self, image_id: str, index: int) -> NDArray[np.int64]:
        """Return the boxes of a class (index without background) in an image, (N, 4).

        They are (x0, y0, x1, y1) in pixels counted from 0, both ends included.

        Raises:
            InputError: the dataset has no boxes, or none of this class for this image, or broken ones.
        """
        raise InputError(
            f"dataset '{self.name}' has no boxes, so that nothing can be said of localisation on it: take "
            "shapes, voc, cub or ilsvrc"
        )

    @cached_property
    def _mask_labels(self) -> Mapping[str, list[int]]:
        return read_label_list(self.mask_labels_path, self.num_classes)

    def _class_indices(self, image_id: str) -> list[int]:
        if self.labels == "masks":
            return self._derived_labels(image_id)
        return self._read_labels(self.annotation_path(image_id))

    def _derived_labels(self, image_id: str) -> list[int]:
        """Return the class indices that the image's mask shows, as derived when the data were prepared."""
        found = self._mask_labels.get(image_id)
        if not found:
            state = "has no line" if found is None else "has no class"
            raise InputError(
                f"image {image_id} {state} in {self.mask_labels_path}, from which image-level labels come: "
                "prepare the dataset again or correct the list"
            )
        return found
