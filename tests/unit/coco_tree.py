"""A small COCO 2014 in its official layout, made for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.data.coco_classes import CLASSES, LABEL_OF_CATEGORY

HEIGHT, WIDTH = 30, 40
CATEGORIES = [{"id": category, "name": CLASSES[label]} for category, label in LABEL_OF_CATEGORY.items()]

# Numbers of the images, as instances files name them, and of those without an annotation.
IMAGES = {"train2014": (9, 25, 30), "val2014": (42, 73, 74)}
BARE = {"train2014": 25, "val2014": 73}


def image_id(subset: str, number: int) -> str:
    return f"COCO_{subset}_{number:012d}"


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    """A rectangle as a polygon."""
    return [left, top, right, top, right, bottom, left, bottom]


def annotation(number: int, image: int, category: int, segmentation: Any, crowd: int = 0) -> dict[str, Any]:
    return {
        "segmentation": segmentation,
        "area": 1.5,
        "iscrowd": crowd,
        "image_id": image,
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "category_id": category,
        "id": number,
    }


def objects(image: int, first: int) -> list[dict[str, Any]]:
    """A person (label 1), a half hidden toothbrush (80), and cars (3), a crowd but for image 9."""
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    return [
        annotation(first, image, 1, [box(5, 5, 15, 15)]),
        annotation(first + 1, image, 90, [box(10, 5, 25, 15), box(30, 20, 35, 25)]),
        annotation(first + 2, image, 3, crowd if image != 9 else [box(0, 0, 3, 3)], crowd=int(image != 9)),
    ]


def write_instances(
    root: Path,
    subset: str,
    images: Sequence[dict[str, Any]] | None = None,
    annotations: Sequence[dict[str, Any]] | None = None,
    categories: Sequence[dict[str, Any]] = CATEGORIES,
) -> Path:
    """Write a file of instances, by default that of the small dataset."""
    if images is None:
        images = [image_entry(subset, number) for number in reversed(IMAGES[subset])]
    if annotations is None:
        whole = [n for n in IMAGES[subset] if n != BARE[subset]]
        # Not grouped by image, as COCO's are not.
        each = [objects(number, 10 * number) for number in whole]
        annotations = [row for rows in zip(*each, strict=True) for row in rows]
    document = {
        "info": {"description": "COCO 2014 Dataset, 'tiny' \u2192 \"}]\""},
        "images": images,
        "licenses": [],
        "annotations": annotations,
        "categories": categories,
    }
    path = root / "annotations" / f"instances_{subset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


def image_entry(subset: str, number: int) -> dict[str, Any]:
    name = f"{image_id(subset, number)}.jpg"
    return {"license": 5, "file_name": name, "height": HEIGHT, "width": WIDTH, "id": number}


def make_coco(root: Path, below: str = ".") -> Path:
    """Make three images each of train2014 and val2014, one of them without annotations; return `root`.

    Args:
        below: folder of the images' folders, relative to the root.
    """
    rng = np.random.default_rng(0)
    for subset, numbers in IMAGES.items():
        write_instances(root, subset)
        folder = root / below / subset
        folder.mkdir(parents=True)
        for number in numbers:
            pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{image_id(subset, number)}.jpg", quality=90)
    return root


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
