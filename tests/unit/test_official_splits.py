from __future__ import annotations

import re
import shutil
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from harness.data.fingerprint import content_hash, whole
from harness.data.official_splits import COCO_SPLITS, VOC_SPLITS
from harness.data.palette import voc_palette, write_mask
from harness.data.shapes import Shapes, ShapesSpec, generate_shapes
from harness.data.voc import VOC, read_id_list
from harness.verbs.data import app
from tests.voc_labels import LABELS, SHARED, SPLITS, make_labelled_voc

with_labels = pytest.mark.skipif(not LABELS.is_file(), reason="the masks of VOC 2012 are not here")
with_lists = pytest.mark.skipif(not (SHARED / "lists").is_dir(), reason="the literature's lists are not here")


def verify(dataset: str, root: Path) -> Result:
    return CliRunner().invoke(app, ["verify", dataset, "--root", str(root)])


def states(result: Result, check: str) -> list[str]:
    """The last column of the table's rows of a check."""
    return re.findall(rf"│ {check} +│.*│ (\w+) +│\n", result.output)


@with_lists
def test_hashes_are_those_of_the_literature_s_lists() -> None:
    for folder, known in (("voc", VOC_SPLITS), ("coco", COCO_SPLITS)):
        for path in (SHARED / "lists" / folder).iterdir():
            ids = read_id_list(path, path.stem)
            assert (known[path.stem].images, known[path.stem].ids) == (len(ids), content_hash(sorted(ids)))


@with_labels
def test_real_masks_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    lists = SHARED / "lists" / "voc"
    ids = [image_id for split in SPLITS for image_id in read_id_list(lists / f"{split}.txt", split)[:40:2]]
    root = make_labelled_voc(tmp_path, ids)
    result = verify("voc", root)
    assert result.exit_code == 1
    assert set(states(result, "list")) == {"wrong", "note"}  # a part is not the official list
    for check in ("images", "labels", "masks", "sizes", "palette", "overlap", "subset"):
        assert set(states(result, check)) == {"ok"}, result.output


@with_labels
@pytest.mark.slow
def test_all_real_masks_are_the_official_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    root = make_labelled_voc(tmp_path)
    result = verify("voc", root)
    assert result.exit_code == 0, result.output
    assert states(result, "content") == ["ok"] * len(SPLITS)
    voc = VOC(root)
    voc.check(SPLITS, masks_for=SPLITS)
    assert voc.official
    assert len([*(root / "SegmentationClassAug").iterdir()]) == 12031


@pytest.mark.slow
def test_the_default_shapes_are_official_until_a_mask_changes(tmp_path: Path) -> None:
    generate_shapes(tmp_path / "shapes")
    shapes = Shapes(tmp_path / "shapes", tmp_path / "cache")
    shapes.check(shapes.splits, masks_for=shapes.splits)
    assert shapes.official
    image_id = shapes.ids("val")[7]
    mask = shapes.read_mask(image_id, "val").copy()
    mask[0, 0] ^= 1
    write_mask(shapes.mask_path(image_id, "val"), mask, voc_palette())
    again = Shapes(tmp_path / "shapes", tmp_path / "cache")
    again.check(["val"])
    assert not again.official
    assert "split 'val'" in again.notices[0]


def test_shapes_of_other_sizes_are_whole_but_not_official(
    shapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    result = verify("shapes", shapes_root)
    assert result.exit_code == 0, result.output
    assert set(states(result, "list")) == {"ok"}
    shapes = Shapes(shapes_root)
    assert shapes.spec != ShapesSpec()
    assert not shapes.official
    shutil.copytree(shapes_root, tmp_path / "shapes")
    path = Shapes(tmp_path / "shapes").list_path("val")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    result = verify("shapes", tmp_path / "shapes")
    assert result.exit_code == 1
    assert re.search(r"val\.txt is not the official one, which has 12 ids", result.output)


def test_the_hash_of_masks_is_that_of_its_description(tmp_path: Path, shapes_root: Path) -> None:
    shapes = Shapes(shapes_root, tmp_path)
    ids = shapes.ids("val")
    total = blake2b(digest_size=16)
    for image_id in sorted(ids):
        mask = shapes.read_mask(image_id, "val")
        labels = blake2b(np.ascontiguousarray(mask).tobytes(), digest_size=16).hexdigest()
        total.update(f"{(image_id, [*mask.shape, labels])}\n".encode())
    assert shapes.masks_hash(ids, whole(shapes.mask_facts(ids, "val"))) == total.hexdigest()
