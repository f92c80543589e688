from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from harness.data.palette import voc_palette, write_mask
from harness.data.voc import VOC
from harness.errors import InputError
from harness.inspection.image_figure import draw_image, find_split
from harness.inspection.statistics import count_split
from harness.verbs.data import app
from tests.unit.voc_tree import TRAIN, VAL, make_voc, write_annotation, write_list

PERSON, BIRD, CAT = (VOC.classes.index(name) - 1 for name in ("person", "bird", "cat"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training images: person and bird, person, cat; one of them has a mask of bird and ignored."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    root = make_voc(tmp_path)
    for image_id, names in zip(TRAIN, (["person", "bird"], ["person"], ["cat"]), strict=True):
        write_annotation(root, image_id, names)
        (root / "SegmentationClass" / f"{image_id}.png").unlink()
    mask = np.zeros((30, 40), np.uint8)
    mask[:15, :20], mask[29] = BIRD + 1, 255
    write_mask(root / "SegmentationClass" / f"{TRAIN[0]}.png", mask, voc_palette())
    return root


def data(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_counts_of_images_pairs_and_pixels(root: Path) -> None:
    statistics = count_split(VOC(root, root / "cache"), "train")
    assert statistics.images[[PERSON, BIRD, CAT]].tolist() == [2, 1, 1]
    assert statistics.images.sum() == 4
    assert statistics.together[PERSON, [PERSON, BIRD, CAT]].tolist() == [2, 1, 0]
    assert (statistics.together == statistics.together.T).all()
    assert statistics.sizes.tolist() == [[30, 40]] * 3
    assert statistics.masks == 1
    assert statistics.pixels is not None
    assert statistics.pixels[[0, BIRD + 1, -1]].tolist() == [860, 300, 40]
    assert statistics.pixels.sum() == 30 * 40
    assert statistics.shares is not None
    assert statistics.shares[BIRD + 1] == pytest.approx(300 / 1160)
    assert statistics.covers is not None
    assert statistics.covers.tolist() == [0.25]


def test_table_and_picture_of_a_split(root: Path, tmp_path: Path) -> None:
    result = data("stats", "voc", "--root", root, "--out", tmp_path / "train.png")
    assert result.exit_code == 0, result.output
    assert "3 images of 1.33 classes on average; 40 to 40 pixels wide" in result.output
    row = next(line for line in result.output.splitlines() if "bird" in line and "100.0" in line)
    assert "person (100.0 %)" in row
    with Image.open(tmp_path / "train.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.getcolors(1 << 20) or range(9999)) > 50


@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_pictures_may_be_vector_graphics_and_splits_without_masks(
    root: Path, tmp_path: Path, suffix: str
) -> None:
    (root / "SegmentationClass" / f"{TRAIN[0]}.png").unlink()
    path = tmp_path / f"train{suffix}"
    result = data("stats", "voc", "--root", root, "--out", path)
    assert result.exit_code == 0, result.output
    assert "no masks" in result.output
    assert path.read_bytes()[:5] in (b"%PDF-", b"<?xml")


def test_image_mask_and_labels_side_by_side(root: Path, tmp_path: Path) -> None:
    result = data("show", "voc", TRAIN[0], "--root", root, "--out", tmp_path / "shown.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "shown.png") as picture:
        assert picture.width > 2 * picture.height
        colours = {colour[:3] for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()}
    palette = voc_palette()
    for label in (PERSON + 1, BIRD + 1, 255):  # person only in the legend
        assert tuple(palette[label].tolist()) in colours
    assert tuple(palette[CAT + 1].tolist()) not in colours


def test_an_image_without_mask_or_labels_is_drawn_alone(root: Path, tmp_path: Path) -> None:
    voc = VOC(root, tmp_path / "cache")
    draw_image(voc, TRAIN[1], "train", tmp_path / "no mask.png")
    write_list(root, "test", ["2008_000006"])
    Image.new("RGB", (40, 30)).save(root / "JPEGImages" / "2008_000006.jpg")
    assert find_split(voc, "2008_000006") == "test"
    draw_image(voc, "2008_000006", "test", tmp_path / "no labels.png")
    for name in ("no mask.png", "no labels.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width < 2 * picture.height


def test_what_cannot_be_counted_or_drawn_is_told_in_a_sentence(root: Path, tmp_path: Path) -> None:
    write_list(root, "test", ["2008_000006"])
    for arguments, words in (
        (("stats", "voc", "--root", root, "--split", "test"), "has no labels to count"),
        (("stats", "voc", "--root", root, "--out", tmp_path / "a.doc"), "one of the endings .png"),
        (("stats", "voc", "--root", root, "--out", tmp_path / "nowhere" / "a.png"), "there is no folder"),
        (("show", "voc", "2099_000001", "--root", root), "no list of voc has image '2099_000001'"),
    ):
        outcome = data(*arguments).exception
        assert isinstance(outcome, InputError)
        assert words in str(outcome)


def test_the_first_split_with_the_image_is_shown(root: Path, tmp_path: Path) -> None:
    write_list(root, "train_aug", [*TRAIN, "2008_000006"])
    voc = VOC(root, tmp_path / "cache")
    assert find_split(voc, TRAIN[0]) == "train"
    assert find_split(voc, VAL[0]) == "val"
    assert find_split(voc, "2008_000006") == "train_aug"
