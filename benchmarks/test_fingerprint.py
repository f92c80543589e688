"""Fingerprint of VOC 2012 at full size: its 12,031 masks alone, and with as many images and annotations.

Cold is without anything remembered (the files may be in the system's cache), warm is by another process that
remembers everything. Targets on two cores: under 20 s cold, under 5 s warm. The photographs are blank ones of
the right sizes, of which a fingerprint reads headers and ends only.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from harness.data.fingerprint import whole
from harness.data.voc import VOC
from tests.voc_labels import LABELS, make_labelled_voc

SPLITS = ("train_aug", "val")

pytestmark = pytest.mark.skipif(not LABELS.is_file(), reason="the masks of VOC 2012 are not here")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC 2012 at full size, but for what photographs show."""
    return make_labelled_voc(tmp_path_factory.mktemp("data"))


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
