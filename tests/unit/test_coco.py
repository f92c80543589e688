"""The dataset `coco`: its splits, labels and masks, and what it says when something is missing."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import open_dataset
from harness.data.coco import COCO
from harness.data.coco_prepare import derive_coco
from harness.data.stream import TrainStream
from harness.errors import InputError
from harness.prepare import limited_ids
from tests.unit.coco_tree import HEIGHT, WIDTH, image_id, make_coco

TRAIN, VAL, BARE_VAL = image_id("train2014", 9), image_id("val2014", 42), image_id("val2014", 73)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    derive_coco(make_coco(tmp_path / "coco"), workers=1)
    return tmp_path / "coco"


@pytest.fixture
def coco(root: Path, tmp_path: Path) -> COCO:
    return COCO(root, tmp_path / "cache")


def test_classes_are_background_and_the_eighty_in_the_order_of_their_category_ids(coco: COCO) -> None:
    assert coco.num_classes == 80
    assert [coco.classes[label] for label in (0, 1, 12, 80)] == [
        "background",
        "person",
        "stop sign",
        "toothbrush",
    ]


def test_underived_data_say_what_to_type(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "coco")
    with pytest.raises(InputError, match=rf"not derived yet .*`harness data prepare coco --root {root}`"):
        open_dataset("coco", root)


def test_wrong_root_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*absent"):
        open_dataset("coco", tmp_path / "absent")
    with pytest.raises(InputError, match=r"no COCO 2014 in .*annotations"):
        open_dataset("coco", tmp_path)
    with pytest.raises(InputError, match="--data-root"):
        open_dataset("coco", None)


def test_the_original_annotations_are_not_needed_any_more(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "annotations")
    coco = COCO(root, tmp_path / "cache")
    coco.check(coco.splits, masks_for=coco.splits)


def test_an_image_without_annotations_has_no_label_and_an_empty_mask(coco: COCO) -> None:
    assert BARE_VAL in coco.ids("val_all")
    assert BARE_VAL not in coco.ids("val")
    assert not coco.image_labels(BARE_VAL).any()
    assert not coco.read_mask(BARE_VAL, "val_all").any()
    assert coco.image_labels(VAL).sum() == 3


def test_the_first_images_of_val_all_are_those_of_val(coco: COCO) -> None:
    assert limited_ids(coco, "val_all", 2) == list(coco.ids("val"))


def test_gray_photographs_become_rgb(coco: COCO) -> None:
    Image.new("L", (WIDTH, HEIGHT), 77).save(coco.image_path(VAL))
    assert (coco.read_image(VAL) - 77).max() == 0
    assert coco.read_image(VAL).shape == (HEIGHT, WIDTH, 3)
    coco.check(["val"])


def test_training_on_image_labels_opens_no_mask_and_no_instances(root: Path, tmp_path: Path) -> None:
    for source in ("annotations", "masks"):
        shutil.rmtree(root / "SegmentationClass", ignore_errors=True)
        shutil.rmtree(root / "annotations", ignore_errors=True)
        coco = COCO(root, tmp_path / "cache", labels=source)

        def whole(image: np.ndarray, label: object, rng: object) -> tuple[np.ndarray, None]:
            return image.transpose(2, 0, 1).astype(np.float32), None

        stream = TrainStream(
            coco, coco.ids("train"), whole, split="train", labels="image", batch_size=1, seed=0
        )
        assert stream[0]["data_samples"].image_labels.shape == (80,)


def test_fingerprint_covers_lists_labels_and_masks(root: Path, tmp_path: Path) -> None:
    def fingerprint(name: str, labels: str = "annotations") -> str:
        return COCO(root, tmp_path / name, labels=labels).fingerprint(["train", "val_all"])

    before = fingerprint("a")
    assert fingerprint("b") == before
    listed = root / "ImageLabels" / "annotations.txt"
    text = listed.read_text()
    listed.write_text(text.replace(f"{TRAIN} 1 3 80", f"{TRAIN} 1 3"))
    assert fingerprint("c") != before
    listed.write_text(text)
    mask = COCO(root).mask_path(VAL, "val_all")
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(mask)
    assert fingerprint("d") != before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "COCO_val2014_000000000042",
            r"ImageSets/train\.txt names COCO_val2014_000000000042, which is not of",
        ),
        ("2007_000032", "'2007_000032' is no image of COCO 2014"),
        (TRAIN, f"names image {TRAIN} twice"),
    ],
)
def test_a_wrong_line_in_a_list_is_named(root: Path, coco: COCO, line: str, message: str) -> None:
    with (root / "ImageSets" / "train.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match=message):
        coco.ids("train")


def test_an_image_without_a_line_of_labels_is_named(root: Path, coco: COCO) -> None:
    path = root / "ImageLabels" / "annotations.txt"
    path.write_text("".join(line for line in path.open() if TRAIN not in line))
    with pytest.raises(InputError, match=rf"ImageLabels/annotations\.txt has no line for image {TRAIN}"):
        coco.check(["train"])


def test_check_names_what_is_missing_or_does_not_fit(coco: COCO) -> None:
    mask = coco.mask_path(VAL, "val")
    Image.fromarray(np.full((HEIGHT, WIDTH), 81, np.uint8)).save(mask)
    with pytest.raises(InputError, match=rf"{VAL}\.png.* 81"):
        coco.check(["val"])
    Image.fromarray(np.zeros((WIDTH, HEIGHT), np.uint8)).save(mask)
    with pytest.raises(InputError, match=rf"{VAL}\.png is 30 x 40 pixels"):
        coco.check(["val"])
    mask.unlink()
    with pytest.raises(InputError, match=rf"{VAL}\.png"):
        coco.check(["val"], masks_for=["val"])
    coco.image_path(VAL).unlink()
    with pytest.raises(InputError, match=rf"{VAL}\.jpg"):
        coco.check(["val"])


def test_it_travels_to_worker_processes(coco: COCO) -> None:
    expected = coco.image_labels(TRAIN)
    assert (pickle.loads(pickle.dumps(coco)).image_labels(TRAIN) == expected).all()
