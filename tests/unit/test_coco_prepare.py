"""Deriving COCO's masks, lists and labels: the same bytes however often and from wherever it is taken up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.coco import COCO
from harness.data.coco_prepare import derive_coco
from harness.data.voc import read_id_list
from harness.errors import InputError
from tests.unit.coco_tree import (
    BARE,
    HEIGHT,
    WIDTH,
    annotation,
    box,
    files_below,
    image_id,
    make_coco,
    objects,
    write_instances,
)

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
LISTS = SHARED / "data" / "lists" / "coco"
MINI = SHARED / "data" / "coco-mini"

START = "import sys; from pathlib import Path; from harness.data.coco_prepare import derive_coco; "
START += "derive_coco(Path(sys.argv[1]), workers=int(sys.argv[2]))"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_coco(tmp_path / "coco")


def test_masks_are_gray_pngs_of_every_image_and_the_first_annotation_is_on_top(root: Path) -> None:
    derive_coco(root, workers=1)
    with Image.open(root / "SegmentationClass" / "val2014" / f"{image_id('val2014', 42)}.png") as image:
        assert (image.mode, image.size) == ("L", (WIDTH, HEIGHT))
        mask = np.array(image)
    assert mask[10, [4, 5, 12, 20, 32]].tolist() == [3, 1, 1, 80, 3]
    for subset, number in BARE.items():
        with Image.open(root / "SegmentationClass" / subset / f"{image_id(subset, number)}.png") as image:
            assert image.size == (WIDTH, HEIGHT)
            assert not np.array(image).any()


def test_lists_hold_the_annotated_images_and_val_all_every_image(root: Path) -> None:
    derive_coco(root, workers=1)
    coco = COCO(root)
    assert coco.ids("train") == tuple(image_id("train2014", number) for number in (9, 30))
    assert (
        coco.ids("val") == coco.ids("val_part") == tuple(image_id("val2014", number) for number in (42, 74))
    )
    assert coco.ids("val_all") == (*coco.ids("val"), image_id("val2014", 73))


def test_both_kinds_of_labels_are_derived(root: Path) -> None:
    hidden = annotation(1000, 9, 17, [box(5, 5, 15, 15)])  # a cat, wholly below the person
    write_instances(root, "train2014", annotations=[*objects(9, 90), hidden])
    derive_coco(root, workers=1)
    shown = {}
    for source in ("annotations", "masks"):
        labels = COCO(root, labels=source).image_labels(image_id("train2014", 9))
        shown[source] = (np.flatnonzero(labels) + 1).tolist()
    assert shown == {"annotations": [1, 3, 16, 80], "masks": [1, 3, 80]}


def test_images_may_lie_below_jpegimages(tmp_path: Path, root: Path) -> None:
    derive_coco(root, workers=1)
    other = make_coco(tmp_path / "other", below="JPEGImages")
    derive_coco(other, workers=1)
    coco = COCO(other)
    assert coco.image_path(image_id("val2014", 42)).parent == other / "JPEGImages" / "val2014"
    coco.check(coco.splits, masks_for=coco.splits)
    assert files_below(other / "SegmentationClass") == files_below(root / "SegmentationClass")


def test_a_second_start_touches_nothing_and_makes_up_for_what_was_deleted_or_changed(root: Path) -> None:
    derive_coco(root, workers=1)
    before = files_below(root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    derive_coco(root, workers=1)
    assert times == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    (root / "SegmentationClass" / "train2014" / f"{image_id('train2014', 9)}.png").unlink()
    (root / "ImageSets" / "val.txt").write_text("COCO_val2014_000000000074\n")
    derive_coco(root, workers=1)
    assert files_below(root) == before
    shutil.rmtree(root / "SegmentationClass")
    derive_coco(root, workers=1)
    assert files_below(root) == before


def test_one_process_and_several_give_the_same_bytes(tmp_path: Path, root: Path) -> None:
    many = make_coco(tmp_path / "many")
    derive_coco(root, workers=1)
    derive_coco(many, workers=3)
    assert files_below(many) == files_below(root)


@pytest.mark.parametrize("left", ["half a mask", "other", "temporary"])
def test_what_a_killed_start_left_behind_is_mended(root: Path, left: str) -> None:
    derive_coco(root, workers=1)
    before = files_below(root)
    (root / "coco.json").unlink()
    mask = root / "SegmentationClass" / "val2014" / f"{image_id('val2014', 42)}.png"
    if left == "half a mask":  # a machine that lost its power, not a process that was killed
        mask.write_bytes(mask.read_bytes()[:50])
    elif left == "temporary":
        mask.with_name(f".{mask.name}.ab12.tmp").write_bytes(b"half")
    else:
        for path in (root / "ImageSets").iterdir():
            path.unlink()
    derive_coco(root, workers=1)
    assert files_below(root) == before


def test_changed_instances_replace_all_masks_of_their_subset(root: Path) -> None:
    derive_coco(root, workers=1)
    val = files_below(root / "SegmentationClass" / "val2014")
    write_instances(root, "train2014", annotations=[annotation(1, 30, 2, [box(5, 5, 15, 15)])])
    derive_coco(root, workers=1)
    coco = COCO(root)
    assert coco.ids("train") == (image_id("train2014", 30),)
    assert not coco.read_mask(image_id("train2014", 9), "train").any()
    assert files_below(root / "SegmentationClass" / "val2014") == val


def test_masks_of_unknown_origin_are_neither_used_nor_overwritten(root: Path) -> None:
    mask = root / "SegmentationClass" / "train2014" / f"{image_id('train2014', 9)}.png"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"somebody's")
    with pytest.raises(
        InputError, match=r"SegmentationClass/train2014 holds masks that were not derived here"
    ):
        derive_coco(root, workers=1)
    assert mask.read_bytes() == b"somebody's"


def _resize(root: Path) -> None:
    path = root / "val2014" / f"{image_id('val2014', 74)}.jpg"
    Image.new("RGB", (HEIGHT, WIDTH)).save(path)


def _truncate(root: Path) -> None:
    path = root / "annotations" / "instances_val2014.json"
    path.write_bytes(path.read_bytes()[:-100])


def _break_region(root: Path) -> None:
    code = {"size": [HEIGHT, WIDTH], "counts": [7, 8]}
    write_instances(root, "val2014", annotations=[annotation(5, 42, 1, code, crowd=1)])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda root: shutil.rmtree(root / "annotations"),
            r"there is no .*annotations/instances_train2014\.json: complete",
        ),
        (
            lambda root: (root / "annotations" / "instances_train2014.json").unlink(),
            r"there is no .*annotations/instances_train2014\.json: complete",
        ),
        (_truncate, r"instances_val2014\.json is truncated or no JSON"),
        (
            lambda root: (root / "val2014" / f"{image_id('val2014', 74)}.jpg").unlink(),
            r"there is no image .*val2014/COCO_val2014_000000000074\.jpg",
        ),
        (
            lambda root: shutil.rmtree(root / "train2014"),
            r"there is no folder .*train2014, where the images should be",
        ),
        (
            lambda root: (root / "val2014" / f"{image_id('val2014', 74)}.jpg").write_text("no image"),
            r"image .*COCO_val2014_000000000074\.jpg cannot be read",
        ),
        (_resize, r"000074\.jpg is 30 x 40 pixels, but .*instances_val2014\.json says 40 x 30"),
        (_break_region, r"annotation 5 cannot be drawn: .*15 of 1200 pixels, in .*instances_val2014\.json"),
        (lambda root: write_instances(root, "val2014", annotations=[]), "val2014.json has no annotations"),
        (
            lambda root: shutil.copy(
                root / "annotations" / "instances_train2014.json",
                root / "annotations" / "instances_val2014.json",
            ),
            "instances_val2014.json lists COCO_train2014_000000000009, which is not of val2014",
        ),
    ],
)
def test_broken_data_are_one_sentence_and_no_dataset(
    root: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(root)
    with pytest.raises(InputError, match=message):
        derive_coco(root, workers=1)
    assert not (root / "coco.json").exists()


def test_progress_counts_images_and_the_files_are_told(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    files = derive_coco(root, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    made = {name: len(content) for name, content in files_below(root).items()}
    given = ("annotations/", "train2014/", "val2014/")
    assert files == {name: size for name, size in made.items() if not name.startswith(given)}
    assert derive_coco(root, workers=1) == files


def many_images(root: Path, count: int) -> None:
    """Let train2014 have `count` annotated images, which are the same photograph."""
    photograph = root / "train2014" / f"{image_id('train2014', 9)}.jpg"
    numbers = range(1000, 1000 + count)
    for number in numbers:
        os.link(photograph, root / "train2014" / f"{image_id('train2014', number)}.jpg")
    entries = [
        {"file_name": f"{image_id('train2014', n)}.jpg", "height": HEIGHT, "width": WIDTH, "id": n}
        for n in numbers
    ]
    rows = [row for n in numbers for row in objects(n, 10 * n)]
    write_instances(root, "train2014", images=entries, annotations=rows)


def test_killed_again_and_again_it_ends_in_the_bytes_of_an_undisturbed_start(tmp_path: Path) -> None:
    undisturbed, disturbed = make_coco(tmp_path / "undisturbed"), make_coco(tmp_path / "disturbed")
    for root in (undisturbed, disturbed):
        many_images(root, 400)
    derive_coco(undisturbed, workers=2)
    command = [sys.executable, "-c", START, str(disturbed), "2"]
    for goal in (1, 150, 300):
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        while process.poll() is None and len(list(disturbed.glob("SegmentationClass/*/*.png"))) < goal:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=ROOT, check=True)
    assert files_below(disturbed) == files_below(undisturbed)


@pytest.mark.skipif(not LISTS.is_dir(), reason="the literature's id lists are not here")
def test_lists_of_the_literature_follow_from_instances_of_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data import coco_prepare

    rng = np.random.default_rng(0)
    for subset, split, bare in (("train2014", "train", 702), ("val2014", "val", 367)):
        listed = {int(name[-12:]) for name in read_id_list(LISTS / f"{split}.txt", split)}
        unused = np.setdiff1d(np.arange(600_000), sorted(listed))
        every = rng.permutation([*listed, *rng.choice(unused, bare, replace=False)]).tolist()
        entries = [
            {"file_name": f"{image_id(subset, n)}.jpg", "height": HEIGHT, "width": WIDTH, "id": n}
            for n in every
        ]
        rows = [annotation(k, n, 1, []) for k, n in enumerate(rng.permutation(sorted(listed)).tolist())]
        write_instances(tmp_path, subset, images=entries, annotations=rows)
    # The masks of 123,287 images take minutes and say nothing of lists.
    monkeypatch.setattr(coco_prepare, "_draw_shard", lambda shard: [image.labels for image in shard])
    derive_coco(tmp_path, workers=1)
    coco = COCO(tmp_path)
    for split in ("train", "val", "val_part"):
        assert list(coco.ids(split)) == (LISTS / f"{split}.txt").read_text().split()
    assert len(coco.ids("val_all")) == 40_504
    assert coco.official


@pytest.mark.skipif(not MINI.is_dir(), reason="no coco-mini beside the checkout (HARNESS_SHARED)")
def test_real_instances_give_what_the_coco_api_gives(tmp_path: Path) -> None:
    from pycocotools.coco import COCO as API

    root = tmp_path / "mini"
    root.mkdir()
    for name in ("annotations", "JPEGImages"):
        (root / name).symlink_to(MINI / name)
    derive_coco(root, workers=2)
    coco = COCO(root, tmp_path / "cache")
    coco.check(coco.splits, masks_for=coco.splits)
    assert {split: len(coco.ids(split)) for split in coco.splits} == {
        "train": 98, "val": 100, "val_all": 100, "val_part": 100,
    }  # fmt: skip
    assert not coco.official
    api = API(MINI / "annotations" / "instances_val2014.json")
    rank = {category: label for label, category in enumerate(api.getCatIds(), start=1)}
    for name in coco.ids("val")[:20]:
        rows = api.imgToAnns[int(name[-12:])]
        expected = np.zeros(coco.image_size(name), np.uint8)
        for row in rows:
            expected[(expected == 0) & (api.annToMask(row) > 0)] = rank[row["category_id"]]
        assert (coco.read_mask(name, "val") == expected).all()
        labels = np.flatnonzero(coco.image_labels(name)) + 1
        assert labels.tolist() == sorted({rank[row["category_id"]] for row in rows})


def test_the_marker_says_what_everything_was_derived_from(root: Path) -> None:
    derive_coco(root, workers=1)
    marker = json.loads((root / "coco.json").read_text())
    assert marker["origins"]["val2014"]["source"] == "instances_val2014.json"
    assert set(marker["files"]) == {
        *(f"ImageSets/{split}.txt" for split in COCO.splits),
        "ImageLabels/annotations.txt",
        "ImageLabels/masks.txt",
    }
