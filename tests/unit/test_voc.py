from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import open_dataset
from harness.data.official_splits import VOC_SPLITS
from harness.data.palette import read_mask, voc_palette, write_mask
from harness.data.voc import VOC, read_id_list
from harness.errors import InputError
from tests.unit.voc_tree import TRAIN, VAL, make_voc, write_annotation, write_list

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_voc(tmp_path)


@pytest.fixture
def voc(root: Path, tmp_path: Path) -> VOC:
    return VOC(root, tmp_path / "cache")


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_root_may_be_voc2012_or_the_folders_around_it(root: Path, tmp_path: Path, below: str) -> None:
    dataset = open_dataset("voc", tmp_path / below, tmp_path / "cache")
    assert dataset.root == root.resolve()
    assert dataset.ids("train") == TRAIN
    assert dataset.num_classes == 20


def test_wrong_root_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*absent.*--data-root"):
        open_dataset("voc", tmp_path / "absent")
    with pytest.raises(InputError, match=r"no VOC 2012 in .*ImageSets.*--data-root"):
        open_dataset("voc", tmp_path)
    with pytest.raises(InputError, match="--data-root"):
        open_dataset("voc", None)


def test_unknown_dataset_and_split_name_the_nearest(voc: VOC) -> None:
    with pytest.raises(InputError, match="did you mean 'shapes'"):
        open_dataset("shape", None)
    with pytest.raises(InputError, match="did you mean 'train_aug'"):
        voc.ids("trainaug")


def test_importing_datasets_does_not_import_torch() -> None:
    code = (
        "import sys, harness.data; sys.exit(any(m in sys.modules for m in ('torch', 'mmengine', 'docker')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_train_aug_becomes_train_with_one_notice(voc: VOC) -> None:
    assert voc.notices == []
    assert voc.ids("train_aug") == TRAIN
    assert voc.resolve_split("train_aug") == "train"
    assert len(voc.notices) == 1
    assert "train_aug" in voc.notices[0]
    assert not voc.official


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "/JPEGImages/{}.jpg /SegmentationClassAug/{}.png",
        "JPEGImages/{0}.jpg SegmentationClassAug/{0}.png",
    ],
)
def test_train_aug_lists_of_both_styles(root: Path, voc: VOC, line: str) -> None:
    write_list(root, "train_aug", [line.format(i, i) for i in (*TRAIN, VAL[0])])
    assert voc.ids("train_aug") == (*TRAIN, VAL[0])
    assert voc.notices == []


def test_train_aug_takes_sbd_masks_and_falls_back_per_image(root: Path, tmp_path: Path) -> None:
    write_list(root, "train_aug", TRAIN)
    (root / "SegmentationClassAug").mkdir()
    other = np.full((30, 40), 20, np.uint8)
    write_mask(root / "SegmentationClassAug" / f"{TRAIN[0]}.png", other, voc_palette())
    voc = VOC(root, tmp_path / "cache")
    assert (voc.read_mask(TRAIN[0], "train_aug") == 20).all()
    assert (voc.read_mask(TRAIN[1], "train_aug") == voc.read_mask(TRAIN[1], "train")).all()
    assert 20 not in voc.read_mask(TRAIN[0], "train")
    assert voc.ground_truth("train_aug") == "SegmentationClassAug"
    assert voc.ground_truth("train") == "SegmentationClass"


def test_image_labels_are_all_objects_difficult_ones_included(root: Path, voc: VOC) -> None:
    write_annotation(root, TRAIN[0], ["tvmonitor", "bird", "bird"], difficult=True)
    labels = voc.image_labels(TRAIN[0])
    assert labels.dtype == np.float32
    assert np.flatnonzero(labels).tolist() == [2, 19]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation></annotation>", "no object"),
        ("<annotation><object>", "cannot be read"),
        ("<annotation><object><name>persn</name></object></annotation>", "'persn'.*did you mean 'person'"),
    ],
)
def test_bad_annotations_are_named(root: Path, voc: VOC, text: str, message: str) -> None:
    (root / "Annotations" / f"{TRAIN[1]}.xml").write_text(text)
    with pytest.raises(InputError, match=f"{TRAIN[1]}.xml.*{message}"):
        voc.check(["train"])
    with pytest.raises(InputError, match=f"{TRAIN[1]}.xml"):
        voc.image_labels(TRAIN[1])


def test_missing_annotation_is_no_reason_to_look_at_the_mask(root: Path, voc: VOC) -> None:
    (root / "Annotations" / f"{TRAIN[0]}.xml").unlink()
    with pytest.raises(InputError, match=f"{TRAIN[0]}.xml"):
        voc.image_labels(TRAIN[0])


def test_gray_images_become_rgb(root: Path, voc: VOC) -> None:
    Image.new("L", (40, 30)).save(root / "JPEGImages" / f"{TRAIN[0]}.jpg")
    assert voc.read_image(TRAIN[0]).shape == (30, 40, 3)
    voc.check(["train"])


def test_exif_orientation_is_not_applied_because_masks_fit_the_stored_pixels(root: Path, voc: VOC) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{TRAIN[0]}.jpg", exif=exif)
    assert voc.read_image(TRAIN[0]).shape == (30, 40, 3)
    assert voc.image_size(TRAIN[0]) == (30, 40)
    voc.check(["train"], masks_for=["train"])


def test_gray_masks_are_labels_but_colour_masks_are_refused(root: Path, voc: VOC) -> None:
    path = root / "SegmentationClass" / f"{TRAIN[0]}.png"
    mask = voc.read_mask(TRAIN[0], "train")
    Image.fromarray(mask).save(path)
    assert (voc.read_mask(TRAIN[0], "train") == mask).all()
    Image.fromarray(voc_palette()[mask]).save(path)
    with pytest.raises(InputError, match=f"{TRAIN[0]}.png holds RGB"):
        voc.read_mask(TRAIN[0], "train")


def test_label_that_is_no_class_names_file_and_value(root: Path, voc: VOC) -> None:
    write_mask(root / "SegmentationClass" / f"{VAL[1]}.png", np.full((30, 40), 21, np.uint8), voc_palette())
    for use in (lambda: voc.read_mask(VAL[1], "val"), lambda: voc.check(["val"])):
        with pytest.raises(InputError, match=rf"{VAL[1]}.png holds label 21"):
            use()


def test_check_passes_whole_data_and_masks_of_missing_splits_are_optional(root: Path, voc: VOC) -> None:
    voc.check(["train", "val"], masks_for=["train", "val"])
    (root / "SegmentationClass" / f"{TRAIN[0]}.png").unlink()
    voc.check(["train"])
    with pytest.raises(InputError, match=f"no mask .*{TRAIN[0]}.png"):
        voc.check(["train"], masks_for=["train"])


def test_check_names_the_first_missing_image_and_counts_the_rest(root: Path, voc: VOC) -> None:
    for image_id in TRAIN[1:]:
        (root / "JPEGImages" / f"{image_id}.jpg").unlink()
    with pytest.raises(InputError, match=rf"no image .*{TRAIN[1]}.jpg.*1 more"):
        voc.check(["train"])


def test_check_finds_truncated_images_even_after_a_check_that_passed(root: Path, voc: VOC) -> None:
    voc.check(["train"])
    path = root / "JPEGImages" / f"{TRAIN[2]}.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=f"{TRAIN[2]}.jpg is truncated"):
        voc.check(["train"])


def test_bytes_after_the_end_marker_do_no_harm(root: Path, voc: VOC) -> None:
    path = root / "JPEGImages" / f"{TRAIN[2]}.jpg"
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    voc.check(["train"])


def test_check_finds_masks_of_another_size(root: Path, voc: VOC) -> None:
    write_mask(root / "SegmentationClass" / f"{TRAIN[0]}.png", np.zeros((40, 30), np.uint8), voc_palette())
    with pytest.raises(InputError, match=f"{TRAIN[0]}.png is 30 x 40 pixels but its image .* is 40 x 30"):
        voc.check(["train"])


@pytest.mark.parametrize(("lines", "message"), [([], "empty"), ([*TRAIN, TRAIN[0]], f"{TRAIN[0]} twice")])
def test_empty_list_and_duplicate_id(root: Path, voc: VOC, lines: list[str], message: str) -> None:
    write_list(root, "train", lines)
    with pytest.raises(InputError, match=message):
        voc.ids("train")


def test_missing_list_is_named(voc: VOC) -> None:
    with pytest.raises(InputError, match=r"test\.txt is missing"):
        voc.ids("test")


def test_palette_is_that_of_the_development_kit() -> None:
    palette = voc_palette()
    assert palette[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip


def test_written_mask_reads_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "a.png", mask, voc_palette())
    assert (read_mask(tmp_path / "a.png") == mask).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not (SHARED / "data" / "lists").is_dir(), reason="the literature's id lists are not here")
def test_official_lists_are_recognised(tmp_path: Path) -> None:
    lists = SHARED / "data" / "lists" / "voc"
    folder = tmp_path / "VOC2012" / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for split in ("train", "val", "train_aug", "test"):
        ids = read_id_list(lists / f"{split}.txt", split)
        assert len(ids) == VOC_SPLITS[split].images
        # The order in which a copy of the list names its images does not matter.
        (folder / f"{split}.txt").write_text("\n".join(reversed(ids)))
    assert VOC(tmp_path, tmp_path / "cache").official
    (folder / "val.txt").write_text("2007_000033\n")
    assert not VOC(tmp_path, tmp_path / "cache").official


@pytest.mark.skipif(not (SHARED / "data" / "voc-mini").is_dir(), reason="the small real VOC is not here")
def test_real_photographs_pass_the_check(tmp_path: Path) -> None:
    voc = open_dataset("voc", SHARED / "data" / "voc-mini" / "VOCdevkit", tmp_path)
    voc.check(["train_aug", "val"], masks_for=["train", "val"])
    assert (len(voc.ids("train_aug")), len(voc.ids("val"))) == (69, 68)
    assert not voc.official
    for image_id in voc.ids("val")[:5]:
        mask = voc.read_mask(image_id, "val")
        assert mask.shape == voc.read_image(image_id).shape[:2] == voc.image_size(image_id)
        seen = np.unique(mask[(mask > 0) & (mask < 255)])
        assert voc.image_labels(image_id)[seen - 1].all()
