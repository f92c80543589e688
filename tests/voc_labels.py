"""VOC 2012 around the real masks of train_aug and val, which lie beside the repository if anywhere.

Photographs are blank ones of the right sizes and annotations say what the masks show, so that all but the
photographs' content is as it is in VOC 2012 with SBD's masks.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from harness.data.palette import IGNORE
from harness.data.voc import VOC, read_id_list

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
LABELS = SHARED / "voc2012-labels.tar"
LONG_AGO = 1_300_000_000  # seconds; a time at which the files were settled

SPLITS = ("train", "val", "train_aug")


def make_labelled_voc(parent: Path, ids: Collection[str] | None = None) -> Path:
    """Make VOC2012 of these ids, by default of all, and return it; lists name only what is there."""
    root = parent / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    with tarfile.open(LABELS) as archive:
        wanted = [file for file in archive if ids is None or Path(file.name).stem in ids]
        archive.extractall(root, wanted, filter="data")
    (root / "SegmentationClass").symlink_to("SegmentationClassAug")
    for split in SPLITS:
        names = read_id_list(SHARED / "lists" / "voc" / f"{split}.txt", split)
        kept = [name for name in names if ids is None or name in ids]
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(kept) + "\n")
    blank: dict[tuple[int, int], bytes] = {}
    for path in (root / "SegmentationClassAug").iterdir():
        with Image.open(path) as mask:
            size, labels = mask.size, [label for label, count in enumerate(mask.histogram()) if count]
        if size not in blank:
            Image.new("RGB", size).save(buffer := io.BytesIO(), "JPEG")
            blank[size] = buffer.getvalue()
        (root / "JPEGImages" / f"{path.stem}.jpg").write_bytes(blank[size])
        names = [VOC.classes[label] for label in labels if label not in (0, IGNORE)]
        objects = "".join(f"<object><name>{name}</name></object>" for name in names)
        (root / "Annotations" / f"{path.stem}.xml").write_text(f"<annotation>{objects}</annotation>")
    for path in root.rglob("*.*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root
