"""Golden cases of data loading: augmentation, inference stacks, image-level labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.geometry import Offsets
from harness.data.pixels import CAFFE_MEAN_BGR, normalise, scale_flip_stack, subtract_caffe_mean
from harness.data.transforms import deeplab_crop, long_side_crop
from tests.golden.adapters.crf import enlarge, grid_image
from tests.golden.case import Case, Unavailable, adapter


@adapter("data.infer_scales")
def infer_scales(case: Case) -> dict[str, Any]:
    image = grid_image(case)
    return {f"scale_{scale:g}": scale_flip_stack(image, scale) for scale in case.config["scales"]}


@adapter("data.train_augment")
def train_augment(case: Case) -> dict[str, Any]:
    image, drawn = grid_image(case), case.config["drawn"]
    geometry = long_side_crop(
        image.shape,
        long_side=drawn["target_long"],
        flip=drawn["flip"],
        offsets=Offsets(*drawn["horizontal_offset_then_vertical_offset"]),
        crop=case.config["crop_size"],
    )
    return {"sample": geometry.image(image, normalise)}


@adapter("seg.augment")
def seg_augment(case: Case) -> dict[str, Any]:
    image, drawn = grid_image(case), case.config["drawn"]
    vertical, horizontal = drawn["vertical_then_horizontal_offset"]
    geometry = deeplab_crop(
        image.shape,
        scale=drawn["scale"],
        flip=drawn["flip"],
        offsets=Offsets(horizontal, vertical),
        crop=case.config["crop_size"],
    )
    label = geometry.label(enlarge(case.arrays["pick"].astype(np.uint8), 8, image.shape[:2]))
    sample = geometry.image(image, subtract_caffe_mean)
    # The case was recorded before the subtraction of the mean.
    return {
        "image": sample.transpose(1, 2, 0) + np.array(CAFFE_MEAN_BGR, np.float32),
        "label": label.astype(np.float32),
    }


@adapter("data.word_cls_labels")
def word_cls_labels(case: Case) -> dict[str, Any]:
    """The label table from the annotations themselves: VOC's XML files are not part of the project."""
    root = os.environ.get("HARNESS_VOC_ROOT")
    if not root:
        raise Unavailable("needs VOC 2012's annotations: set HARNESS_VOC_ROOT to a VOCdevkit")
    from harness.data import open_dataset

    dataset = open_dataset("voc", Path(root))
    if not dataset.official:
        raise Unavailable(f"needs the whole of VOC 2012; {root} has other lists")
    labels = {
        split: np.stack([dataset.image_labels(name) for name in dataset.ids(split)])
        for split in ("train_aug", "val")
    }
    train_aug = labels["train_aug"]
    return {
        "per_class": train_aug.sum(axis=0).astype(np.int64),
        "images": len(train_aug),
        "entries_in_table": len(train_aug) + len(labels["val"]),
        "min_labels": int(train_aug.sum(axis=1).min()),
    }
