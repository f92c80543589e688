"""What a split contains: images and pixels per class, classes that occur together, sizes of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset
from harness.data.fingerprint import OnProgress, whole
from harness.data.palette import IGNORE
from harness.errors import InputError


@dataclass(frozen=True)
class Statistics:
    """Counts over the images of one split; C classes without background, N images.

    Attributes:
        dataset, split: their names.
        classes: C names.
        labels: (N, C) bool, the image-level labels.
        sizes: (N, 2) pixels, heights and widths.
        pixels: (C + 2,) numbers of pixels of background, the classes and the ignored, None without masks.
        covers: (K,) shares in (0, 1] of its image that a class covers, of all classes in all masks, or None.
        masks: number of masks that were counted.
    """

    dataset: str
    split: str
    classes: Sequence[str]
    labels: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    pixels: NDArray[np.int64] | None
    covers: NDArray[np.float64] | None
    masks: int

    @property
    def images(self) -> NDArray[np.int64]:
        """(C,) images per class."""
        return self.labels.sum(axis=0)

    @property
    def together(self) -> NDArray[np.int64]:
        """(C, C) images with the class of the row and of the column; images per class on the diagonal."""
        labels = self.labels.astype(np.int64)
        return labels.T @ labels

    @property
    def shares(self) -> NDArray[np.float64] | None:
        """(C + 1,) shares of background and the classes in all pixels that are not ignored."""
        return None if self.pixels is None else self.pixels[:-1] / max(self.pixels[:-1].sum(), 1)


def count_split(dataset: Dataset, split: str, progress: OnProgress | None = None) -> Statistics:
    """Count a split; what a check or a fingerprint read before is not read again.

    Args:
        progress: told (done, total) while files are read.

    Raises:
        InputError: no such split, it has no labels, or a file is missing or broken.
    """
    ids = dataset.ids(split)
    if split in dataset.unlabelled_splits:
        raise InputError(f"split '{split}' of {dataset.name} has no labels to count: name another one")
    images = whole(dataset.image_facts(ids, progress))
    labels = np.zeros((len(ids), dataset.num_classes), np.bool_)
    for row, found in zip(labels, whole(dataset.label_facts(ids, progress)), strict=True):
        row[found] = True
    masks = [mask for mask in whole(dataset.mask_facts(ids, split, progress)) if mask is not None]
    pixels, covers = np.zeros(dataset.num_classes + 2, np.int64), []
    for mask in masks:
        for label, count in mask.pixels:
            pixels[-1 if label == IGNORE else label] += count
            if label not in (0, IGNORE):
                covers.append(count / (mask.height * mask.width))
    return Statistics(
        dataset=dataset.name,
        split=split,
        classes=dataset.classes[1:],
        labels=labels,
        sizes=np.array([(image.height, image.width) for image in images], np.int64),
        pixels=pixels if masks else None,
        covers=np.array(covers) if covers else None,
        masks=len(masks),
    )
