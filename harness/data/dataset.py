"""What every dataset offers: splits, images, image-level labels, masks, a preflight check, a fingerprint."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.cache import data_cache
from harness.data.fingerprint import Fact, FileFacts, OnProgress, attempt, content_hash, raise_first, whole
from harness.data.image_file import ImageFact, check_image, image_size, read_rgb
from harness.data.label_list import read_label_list
from harness.data.official_splits import OfficialSplits
from harness.data.palette import MaskFact, check_mask, read_mask, require_classes, voc_palette
from harness.errors import InputError, nearest

LabelSource = Literal["annotations", "masks"]
"""Where image-level labels come from: the objects that are annotated, or the classes that masks show."""


def wrong_size(mask: Path, mask_size: Sequence[int], image: Path, size: Sequence[int]) -> InputError:
    """Return the error for a mask that does not fit its image; sizes are (H, W)."""
    return InputError(
        f"the mask {mask} is {mask_size[1]} x {mask_size[0]} pixels but its image {image} is "
        f"{size[1]} x {size[0]}: replace the one that is wrong"
    )


class Dataset(ABC):
    """A dataset on disk. Reading is thread-safe, and an instance may be sent to worker processes.

    A subclass must give `name`, `classes`, `splits` and the abstract methods; all paths are its own affair.
    It may give `official_splits`, `unlabelled_splits` (without labels and masks by nature), `optional_splits`
    (whose lists may be absent) and `gray_images` (whether some of the official images are gray).

    Args:
        root: the dataset's own folder.
        cache: folder that remembers facts about files between runs; default `data_cache()`.
        labels: where image-level labels come from.

    Attributes:
        name: as in `--dataset`.
        classes: names, `background` first; a mask's label is the index into them.
        splits: names of the splits that may be asked for.
        palette: (256, 3) uint8 RGB colours of masks.
        notices: sentences on what differs from the official data, filled while the dataset is used.
        facts: what is remembered of files between runs.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    splits: ClassVar[tuple[str, ...]]
    unlabelled_splits: ClassVar[tuple[str, ...]] = ()
    optional_splits: ClassVar[tuple[str, ...]] = ()
    official_splits: OfficialSplits = {}
    gray_images: ClassVar[bool] = True

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        self.root = root.resolve()
        self.labels: LabelSource = labels
        self.palette = voc_palette()
        self.notices: list[str] = []
        self._ids: dict[str, tuple[str, ...]] = {}
        self._labels: dict[str, NDArray[np.float32]] = {}
        place = hashlib.blake2b(str(self.root).encode(), digest_size=8).hexdigest()
        self.facts = FileFacts(self.root, (cache or data_cache()) / "facts" / f"{self.name}-{place}")

    @classmethod
    def open(
        cls,
        root: Path | None,
        cache: Path | None = None,
        progress: OnProgress | None = None,
        labels: LabelSource = "annotations",
    ) -> Dataset:
        """Open the dataset at `root`; `progress` is told (done, total) where that takes a while.

        Raises:
            InputError: it is not there, or no root was given.
        """
        if root is None:
            raise InputError(
                f"dataset '{cls.name}' needs to know where it is: pass its folder with --data-root"
            )
        return cls(root, cache, labels)

    @property
    def num_classes(self) -> int:
        """Number of classes without background."""
        return len(self.classes) - 1

    @property
    def official(self) -> bool:
        """Whether all lists are the official ones, and nothing that was used was found to differ."""
        lists = [split for split in self.official_splits if self.has_list(split)]
        return bool(lists) and not self.notices and all(self.has_official_ids(split) for split in lists)

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

    def has_official_ids(self, split: str) -> bool:
        """Return whether a split has the ids of the official one, in any order (errors as `ids`)."""
        official = self.official_splits.get(self.resolve_split(split))
        ids = self.ids(split)
        if official is None or official.images != len(ids):
            return False
        return official.ids in (None, content_hash(sorted(ids)))

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

    def check(
        self,
        splits: Iterable[str],
        *,
        masks_for: Collection[str] = (),
        progress: OnProgress | None = None,
    ) -> None:
        """Check all that a run on these splits needs, before it starts.

        Every listed image is there and whole; every annotation is there and names known classes (but for
        splits that have none by nature); every mask that is there has its image's size and known labels.
        Masks other than the official ones are allowed, with a notice.

        Args:
            masks_for: splits whose masks must all be there.
            progress: told (done, total) while files are read; unchanged files are not read again.

        Raises:
            InputError: names the first bad file and counts the rest.
        """
        for split in dict.fromkeys([*splits, *masks_for]):
            ids = self.ids(split)
            images = whole(self.image_facts(ids, progress))
            if split not in self.unlabelled_splits:
                whole(self.label_facts(ids, progress))
            masks = whole(self.mask_facts(ids, split, progress, required=split in masks_for))
            raise_first(self.wrong_sizes(ids, split, images, masks))
            self._compare_masks(ids, split, masks)

    def fingerprint(self, splits: Iterable[str], *, progress: OnProgress | None = None) -> str:
        """Return a hash of lists, image sizes and bytes, image-level labels and decoded masks.

        It depends neither on where the dataset lies nor on how a mask's PNG was compressed.

        Raises:
            InputError: a file that a split needs is missing or broken.
        """
        lines = [f"{self.name} 1", *self.classes]
        for split in sorted({*splits}):
            ids = self.ids(split)
            images = [list(fact[:3]) for fact in whole(self.image_facts(ids, progress))]
            plain = split in self.unlabelled_splits
            labels = [None] * len(ids) if plain else whole(self.label_facts(ids, progress))
            masks = whole(self.mask_facts(ids, split, progress))
            lines.append(f"split {split} is {self.resolve_split(split)}: {len(ids)}")
            lines += [f"{row}" for row in zip(ids, images, labels, map(_mask_line, masks), strict=True)]
        return content_hash(lines)

    def image_facts(
        self, ids: Sequence[str], progress: OnProgress | None = None
    ) -> list[ImageFact | InputError]:
        """Return what is known of each image, or what is wrong with it."""
        paths = [self.image_path(image_id) for image_id in ids]
        found = self.facts.gather("image", paths, check_image, progress)
        return [fact if isinstance(fact, InputError) else ImageFact(*fact) for fact in found]

    def label_facts(self, ids: Sequence[str], progress: OnProgress | None = None) -> list[Fact | InputError]:
        """Return the class indices (ascending, first class 0) of each image, or what is wrong with them."""
        if self.labels == "masks":
            return [attempt(self._derived_labels, image_id) for image_id in ids]
        paths = [self.annotation_path(image_id) for image_id in ids]
        return self.facts.gather("labels", paths, self._read_labels, progress)

    def mask_facts(
        self, ids: Sequence[str], split: str, progress: OnProgress | None = None, required: bool = False
    ) -> list[MaskFact | InputError | None]:
        """Return what is known of each mask, or what is wrong with it; None where none is nor is required."""
        paths = [self.mask_path(image_id, split) for image_id in ids]
        there = [path for path in paths if required or os.path.lexists(path)]
        check = partial(check_mask, classes=self.num_classes)
        found = dict(zip(there, self.facts.gather("mask", there, check, progress), strict=True))
        facts = (found.get(path) for path in paths)
        return [fact if fact is None or isinstance(fact, InputError) else MaskFact(*fact) for fact in facts]

    def wrong_sizes(
        self,
        ids: Sequence[str],
        split: str,
        images: Sequence[ImageFact | InputError],
        masks: Sequence[MaskFact | InputError | None],
    ) -> list[InputError]:
        """Return an error per mask that does not fit its image, of those that are both whole."""
        return [
            wrong_size(self.mask_path(image_id, split), mask[:2], self.image_path(image_id), image[:2])
            for image_id, image, mask in zip(ids, images, masks, strict=True)
            if isinstance(image, ImageFact) and isinstance(mask, MaskFact) and mask[:2] != image[:2]
        ]

    def masks_hash(self, ids: Sequence[str], masks: Sequence[MaskFact]) -> str:
        """Return the hash of a split's masks, as in `official_splits`; it does not depend on the order."""
        return content_hash(f"{(image_id, _mask_line(mask))}" for image_id, mask in sorted(zip(ids, masks)))

    def _compare_masks(self, ids: Sequence[str], split: str, masks: Sequence[MaskFact | None]) -> None:
        """Give notice of other masks where the official ones are known and the list is the official one."""
        official = self.official_splits.get(self.resolve_split(split))
        there = [mask for mask in masks if mask is not None]
        if official is None or official.masks is None or len(there) < len(masks):
            return
        notice = (
            f"the masks of split '{split}' are not the official ones; results cannot be compared with "
            "published ones"
        )
        if not self.has_official_ids(split) or notice in self.notices:
            return
        if self.masks_hash(ids, there) != official.masks:
            self.notices.append(notice)

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


def _mask_line(mask: MaskFact | None) -> list[int | str] | None:
    return None if mask is None else list(mask[:3])
