"""Fingerprint of VOC 2012 at full size: its 12,031 masks alone, and with as many images and annotations.

Cold is without anything remembered (the files may be in the system's cache), warm is by another process that
remembers everything. Targets on two cores: under 20 s cold, under 5 s warm. The photographs are blank ones of
the right sizes, of which a fingerprint reads headers and ends only.
"""

from __future__ import annotations

import io
import os
import tarfile
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from harness.data.fingerprint import whole
from harness.data.voc import VOC

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SPLITS = ("train_aug", "val")
LONG_AGO = 1_300_000_000  # seconds; a time at which the files were settled

pytestmark = pytest.mark.skipif(
    not (SHARED / "data" / "voc2012-labels.tar").is_file(), reason="the masks of VOC 2012 are not here"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC 2012 at full size, but for what photographs show."""
    root = tmp_path_factory.mktemp("data") / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    with tarfile.open(SHARED / "data" / "voc2012-labels.tar") as archive:
        archive.extractall(root, filter="data")
    (root / "SegmentationClass").symlink_to("SegmentationClassAug")
    for split in SPLITS:
        names = (SHARED / "data" / "lists" / "voc" / f"{split}.txt").read_bytes()
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_bytes(names)
    blank: dict[tuple[int, int], bytes] = {}
    for mask in (root / "SegmentationClassAug").iterdir():
        with Image.open(mask) as image:
            size = image.size
        if size not in blank:
            Image.new("RGB", size).save(buffer := io.BytesIO(), "JPEG")
            blank[size] = buffer.getvalue()
        annotation = "<annotation><object><name>person</name></object></annotation>"
        (root / "JPEGImages" / f"{mask.stem}.jpg").write_bytes(blank[size])
        (root / "Annotations" / f"{mask.stem}.xml").write_text(annotation)
    for path in root.rglob("*.*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root


def masks_only(root: Path, cache: Path) -> list[str]:
    voc = VOC(root, cache)
    return [
        voc.masks_hash(ids, whole(voc.mask_facts(ids, split))) for split in SPLITS if (ids := voc.ids(split))
    ]


def everything(root: Path, cache: Path) -> str:
    return VOC(root, cache).fingerprint(SPLITS)


@pytest.mark.parametrize("hashed", [masks_only, everything])
@pytest.mark.benchmark(group="fingerprint of 12,031 images")
def test_cold(benchmark, root: Path, tmp_path: Path, hashed) -> None:
    caches = (tmp_path / str(i) for i in count())
    benchmark.pedantic(lambda: hashed(root, next(caches)), rounds=3)


@pytest.mark.parametrize("hashed", [masks_only, everything])
@pytest.mark.benchmark(group="fingerprint of 12,031 images")
def test_warm(benchmark, root: Path, tmp_path: Path, hashed) -> None:
    first = hashed(root, tmp_path)
    assert benchmark.pedantic(hashed, (root, tmp_path), rounds=5) == first
