"""Hashes of the official datasets: what a run's data are compared with, and all that is known of them here.

How they were computed, so that anybody can repeat it (`Dataset.masks_hash`, `content_hash`):

- `ids`: over the sorted ids, a line each, of the lists that the literature on weak supervision uses.
- `masks`: over a line `(id, [height, width, hash of the labels])` per image, sorted by id, where the hash of
  the labels is BLAKE2b, 16 bytes, of the decoded bytes. Palette and compression do not matter.

VOC's come from the 12,031 masks of train_aug and val that the literature calls SegmentationClassAug: VOC's
own where there is one (train and val, with borders of 255), SBD's elsewhere. COCO's masks depend on what is
drawn first, so there is none that everybody uses. Those of shapes follow from its generator. No hash of the
official photographs and XML files is known here: photographs are compared with their masks' sizes only, and
image-level labels not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OfficialSplit:
    """What is known of a split.

    Attributes:
        images: number of its ids.
        ids: hash of its list, None where it is not known.
        masks: hash of its masks, None where they are not known or there are none.
    """

    images: int
    ids: str | None
    masks: str | None = None


OfficialSplits = Mapping[str, OfficialSplit]

VOC_SPLITS: OfficialSplits = {
    "train": OfficialSplit(1464, "9c29856e0d7edd24e4af87df537cd9b8", "e4cae6a10857638e28d9b897c47722ee"),
    "val": OfficialSplit(1449, "dd676ac12398b31c8513967fab4c25f0", "a484cb2de9b2d6572da0d50b54dfe707"),
    "trainval": OfficialSplit(2913, "4d92ae4017ea057e51a29616f65d6aa1", "6faf258e5f77f58753b71d8502a93094"),
    "train_aug": OfficialSplit(10582, "f64d0f86f96ad845cc7509dd934522e1", "b42f5c3355d0494f32595d34a124b19d"),
    "test": OfficialSplit(1456, "058470a8f476bdb9c32a14d6b853b053"),
}
COCO_SPLITS: OfficialSplits = {
    "train": OfficialSplit(82081, "4d60e3bb5272632914cafc77b01f3e2a"),
    "val": OfficialSplit(40137, "ed808389560d6f182a1d24aea3b347b5"),
    "val_part": OfficialSplit(5000, "bfe7c821b79a0bea2a27798ed30f17e9"),
    "val_all": OfficialSplit(40504, None),  # every image of val2014
}
SHAPES_SPLITS: OfficialSplits = {
    "train": OfficialSplit(400, "9a6286e55ccd87cbe8cf092abce5b231", "5614270eb9d9d1d7333cf678436b4d12"),
    "train_aug": OfficialSplit(1600, "91187ba8d9bfd0a01a5caf59d17df8dd", "9b444cef9a0529a20308de438cdd2b6c"),
    "val": OfficialSplit(200, "4e725fb632ea98dea90291e67620c8d4", "b53bd1f600032b542297d32188db5073"),
}
