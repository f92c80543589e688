from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.fingerprint import FileFacts, Learn
from harness.data.palette import voc_palette, write_mask
from harness.data.voc import VOC
from harness.errors import InputError
from tests.unit.voc_tree import TRAIN, make_voc, write_annotation, write_list

SPLITS = ["train", "val"]
LONG_AGO = 10**18  # nanoseconds; a time at which files were settled


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_voc(tmp_path / "a")
    for path in root.rglob("*.*"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return root


def fingerprint(root: Path, splits: list[str] = SPLITS) -> str:
    return VOC(root, root.parent / "cache").fingerprint(splits)


def test_fingerprint_does_not_depend_on_place_order_or_cache(root: Path, tmp_path: Path) -> None:
    first = fingerprint(root)
    shutil.copytree(root, tmp_path / "elsewhere" / "VOC2012")
    assert fingerprint(tmp_path / "elsewhere" / "VOC2012") == first
    assert fingerprint(root, ["val", "train", "val"]) == first
    shutil.rmtree(root.parent / "cache")
    assert fingerprint(root) == first


def test_fingerprint_sees_labels_not_the_compression_of_masks(root: Path) -> None:
    before = fingerprint(root)
    path = root / "SegmentationClass" / f"{TRAIN[0]}.png"
    mask = np.array(Image.open(path))
    Image.fromarray(mask).save(path, compress_level=0)
    assert fingerprint(root) == before
    mask[0, 0] = 7
    write_mask(path, mask, voc_palette())
    assert fingerprint(root) != before


def test_fingerprint_changes_with_lists_annotations_and_images(root: Path) -> None:
    seen = {fingerprint(root), fingerprint(root, ["train"])}
    write_annotation(root, TRAIN[0], ["cat"])
    seen.add(fingerprint(root))
    Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{TRAIN[0]}.jpg")
    seen.add(fingerprint(root))
    write_list(root, "train", TRAIN[:2])
    seen.add(fingerprint(root))
    assert len(seen) == 5


def test_train_that_stands_for_train_aug_is_not_train(root: Path) -> None:
    assert fingerprint(root, ["train_aug"]) != fingerprint(root, ["train"])


def counting(calls: list[Path]) -> Learn:
    def learn(path: Path) -> int:
        calls.append(path)
        if not path.exists():
            raise InputError(f"there is no {path.name}")
        return path.stat().st_size

    return learn


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}" for i in range(200)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * i)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    calls: list[Path] = []
    progress: list[tuple[int, int]] = []
    store = tmp_path / "store"
    learn = counting(calls)
    assert FileFacts(tmp_path, store).learn("size", paths, learn, lambda *p: progress.append(p)) == list(
        range(200)
    )
    assert progress[-1] == (200, 200)
    calls.clear()
    paths[3].write_bytes(b"longer")
    os.utime(paths[5], ns=(LONG_AGO, LONG_AGO + 1))
    facts = FileFacts(tmp_path, store)
    assert facts.learn("size", paths, learn)[3] == 6
    assert sorted(calls) == [paths[3], paths[5]]
    facts.learn("another kind", paths[:1], learn)
    assert len(calls) == 3


def test_first_failure_is_raised_with_the_number_of_the_others(tmp_path: Path) -> None:
    facts = FileFacts(tmp_path, tmp_path / "store")
    with pytest.raises(InputError, match=r"no 0 \(and 99 more like it\)"):
        facts.learn("size", [tmp_path / f"{i}" for i in range(100)], counting([]))


@pytest.mark.parametrize("content", ["", "{", '{"version": 0, "facts": {"a": ["2 1", 9]}}', "[]"])
def test_unusable_store_is_done_without(tmp_path: Path, content: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "size.json").write_text(content)
    (tmp_path / "a").write_bytes(b"xy")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert FileFacts(tmp_path, tmp_path / "store").learn("size", [tmp_path / "a"], counting([])) == [2]


def test_store_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"xy")
    (tmp_path / "file").touch()
    facts = FileFacts(tmp_path, tmp_path / "file" / "store")
    assert facts.learn("size", [tmp_path / "a"], counting([])) == [2]


def test_a_file_that_changed_in_the_tick_in_which_it_was_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    soon = time.time_ns() + 3600 * 10**9  # a loaded machine must not outlive the tick
    values = []
    for content in (b"xy", b"yx"):
        path.write_bytes(content)
        os.utime(path, ns=(soon, soon))
        facts = FileFacts(tmp_path, tmp_path / "store")
        values += facts.learn("content", [path], lambda path: path.read_text())
    assert values == ["xy", "yx"]


def settled(tmp_path: Path, count: int) -> list[Path]:
    paths = [tmp_path / f"{i}" for i in range(count)]
    for path in paths:
        path.touch()
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return paths


def test_processes_that_share_a_store_keep_what_each_learned(tmp_path: Path) -> None:
    paths = settled(tmp_path, 4)
    one, other = FileFacts(tmp_path, tmp_path / "store"), FileFacts(tmp_path, tmp_path / "store")
    for facts, learned in ((one, paths[:1]), (other, paths[1:2]), (one, paths[2:3]), (other, paths[3:])):
        facts.learn("size", learned, counting([]))
    calls: list[Path] = []
    FileFacts(tmp_path, tmp_path / "store").learn("size", paths, counting(calls))
    assert calls == []


def test_stores_of_many_processes_stay_readable(tmp_path: Path) -> None:
    paths = settled(tmp_path, 64)

    def work(start: int) -> list[int]:
        return [
            value
            for path in paths[start:] + paths[:start]
            for value in FileFacts(tmp_path, tmp_path / "store").learn("size", [path], counting([]))
        ]

    with ThreadPoolExecutor(4) as pool:
        assert all(values == [0] * 64 for values in pool.map(work, range(0, 64, 16)))
    assert set(json.loads((tmp_path / "store" / "size.json").read_text())["facts"]) <= {
        str(i) for i in range(64)
    }


def test_an_interrupted_check_keeps_what_it_learned(tmp_path: Path) -> None:
    paths = settled(tmp_path, 300)

    def stop(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FileFacts(tmp_path, tmp_path / "store").learn("size", paths, counting([]), stop)
    calls: list[Path] = []
    FileFacts(tmp_path, tmp_path / "store").learn("size", paths, counting(calls))
    assert sorted(calls) == sorted(paths[128:])


def test_a_missing_file_that_all_need_is_told_once(tmp_path: Path) -> None:
    def learn(path: Path) -> int:
        raise InputError("there is no file of labels")

    with pytest.raises(InputError, match=r"^there is no file of labels$"):
        FileFacts(tmp_path, tmp_path / "store").learn("labels", settled(tmp_path, 5), learn)
