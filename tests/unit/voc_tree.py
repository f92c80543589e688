"""A small dataset in VOC's official layout, made for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.palette import voc_palette, write_mask

TRAIN, VAL = ("2007_000032", "2007_000039", "2007_000063"), ("2007_000033", "2007_000042")


def make_voc(parent: Path) -> Path:
    """Make VOCdevkit/VOC2012 with three train and two val images of 40 x 30 pixels; return VOC2012."""
    root = parent / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    write_list(root, "train", TRAIN)
    write_list(root, "val", VAL)
    rng = np.random.default_rng(0)
    for label, image_id in enumerate([*TRAIN, *VAL], start=1):
        pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{image_id}.jpg", quality=90)
        write_annotation(root, image_id, ["aeroplane", "person"])
        mask = np.zeros((30, 40), np.uint8)
        mask[5:20, 5:20], mask[20] = label, 255
        write_mask(root / "SegmentationClass" / f"{image_id}.png", mask, voc_palette())
    return root


def write_list(root: Path, split: str, lines: Sequence[str]) -> None:
    (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(lines) + "\n")


def write_annotation(root: Path, image_id: str, names: Sequence[str], difficult: bool = False) -> None:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{int(difficult)}</difficult></object>" for name in names
    )
    (root / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
