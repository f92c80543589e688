"""What every dataset offers: its files, what is known of them, a preflight check, a fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

from harness.data.cache import data_cache
from harness.data.fingerprint import Fact, FileFacts, OnProgress, attempt, content_hash, raise_first, whole
from harness.data.image_file import ImageFact, check_image
from harness.data.layout import LabelSource, Layout
from harness.data.official_splits import OfficialSplits
from harness.data.palette import MaskFact, check_mask
from harness.errors import InputError


def wrong_size(mask: Path, mask_size: Sequence[int], image: Path, size: Sequence[int]) -> InputError:
    """Return the error for a mask that does not fit its image; sizes are (H, W)."""
    return InputError(
        f"the mask {mask} is {mask_size[1]} x {mask_size[0]} pixels but its image {image} is "
        f"{size[1]} x {size[0]}: replace the one that is wrong"
    )


class Dataset(Layout):
    """A dataset on disk. Reading is thread-safe, and an instance may be sent to worker processes.

    Args:
        root: the dataset's own folder.
        cache: folder that remembers facts about files between runs; default `data_cache()`.
        labels: where image-level labels come from.

    Attributes:
        official_splits: what is known of the official data.
        notices: sentences on what differs from the official data, filled while the dataset is used.
        facts: what is remembered of files between runs.
    """

    official_splits: OfficialSplits = {}

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        super().__init__(root, labels)
        self.notices: list[str] = []
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
    def official(self) -> bool:
        """Whether all lists are the official ones, and nothing that was used was found to differ."""
        lists = [split for split in self.official_splits if self.has_list(split)]
        return bool(lists) and not self.notices and all(self.has_official_ids(split) for split in lists)

    def has_official_ids(self, split: str) -> bool:
        """Return whether a split has the ids of the official one, in any order (errors as `ids`)."""
        official = self.official_splits.get(self.resolve_split(split))
        ids = self.ids(split)
        if official is None or official.images != len(ids):
            return False
        return official.ids in (None, content_hash(sorted(ids)))

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


def _mask_line(mask: MaskFact | None) -> list[int | str] | None:
    return None if mask is None else list(mask[:3])
