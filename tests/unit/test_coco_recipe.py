"""`harness data prepare coco`: from the official archives, or from what somebody has unpacked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.data.coco import COCO
from harness.data.prepare import prepare_dataset
from harness.errors import InputError
from tests.unit.coco_tree import IMAGES, files_below, make_coco

ROOT = Path(__file__).parents[2]


class Silent:
    """Hears what a preparation tells."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def say(self, text: str) -> None: ...
    def plan(self, names: Sequence[str]) -> None: ...
    def begin(self, name: str, what: str) -> None: ...
    def progress(self, done: int, total: int, unit: str) -> None: ...

    def end(self, outcome: str) -> None:
        self.ended.append(outcome)


def make_archives(parent: Path) -> list[Path]:
    """The three official archives, of a small COCO, with what else is in them."""
    tree = make_coco(parent / "tree")
    (tree / "annotations" / "captions_val2014.json").write_text("{}")
    archives = []
    for name, folder in (
        ("train2014", "train2014"),
        ("val2014", "val2014"),
        ("annotations_trainval2014", "annotations"),
    ):
        archives.append(parent / f"{name}.zip")
        with zipfile.ZipFile(archives[-1], "w") as bundle:
            bundle.mkdir(folder)
            for path in sorted((tree / folder).iterdir()):
                bundle.write(path, f"{folder}/{path.name}")
    shutil.rmtree(tree)
    return archives


def test_archives_become_a_dataset_and_a_second_start_has_nothing_to_do(tmp_path: Path) -> None:
    root, archives = tmp_path / "coco", make_archives(tmp_path)
    prepared = prepare_dataset("coco", root, archives, Silent(), workers=1)
    assert [(row.split, row.images, row.official) for row in prepared.rows] == [
        ("train", 2, False), ("val", 2, False), ("val_all", 3, False), ("val_part", 2, False),
    ]  # fmt: skip
    coco = COCO(root, tmp_path / "cache")
    coco.check(coco.splits, masks_for=coco.splits)
    assert not (root / "annotations" / "captions_val2014.json").exists()
    before = files_below(root)
    again = Silent()
    prepare_dataset("coco", root, archives, again, workers=1)
    assert again.ended == []
    assert files_below(root) == before


@pytest.mark.parametrize("below", [".", "JPEGImages"])
def test_what_is_unpacked_already_needs_no_archive(tmp_path: Path, below: str) -> None:
    root = make_coco(tmp_path / "coco", below)
    prepared = prepare_dataset("coco", root, [], Silent(), workers=1)
    assert prepared.rows[0].images == 2


def test_an_archive_without_photographs_is_named(tmp_path: Path) -> None:
    archives = make_archives(tmp_path)
    with zipfile.ZipFile(archives[0], "w") as bundle:
        bundle.writestr("train2014/readme.txt", "photographs are elsewhere")
    with pytest.raises(InputError, match=r"train2014\.zip"):
        prepare_dataset("coco", tmp_path / "coco", archives, Silent(), workers=1)


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    alone, shared = make_coco(tmp_path / "alone"), make_coco(tmp_path / "shared")
    prepare_dataset("coco", alone, [], Silent(), workers=1)
    command = [sys.executable, "-m", "harness.cli", "data", "prepare", "coco", "--root", str(shared)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]

    def dataset(root: Path) -> dict[str, bytes]:
        return {name: content for name, content in files_below(root).items() if ".prepared" not in name}

    assert dataset(shared) == dataset(alone)
    assert len(list(shared.glob("SegmentationClass/*/*.png"))) == sum(map(len, IMAGES.values()))
