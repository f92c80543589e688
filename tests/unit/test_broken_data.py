"""Every way in which a dataset can be broken gives a sentence that names the file and the remedy.

The same damage is seen by the check before a run, which stops at the first bad file, and by
`harness data verify`, which tells all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from harness.data.fingerprint import content_hash, whole
from harness.data.official_splits import OfficialSplit
from harness.data.palette import voc_palette, write_mask
from harness.data.voc import VOC
from harness.errors import InputError
from harness.verbs.data import app
from tests.command import Command
from tests.unit.voc_tree import TRAIN, VAL, make_voc, write_annotation, write_list

FIRST = TRAIN[0]
IMAGE, MASK, XML = f"JPEGImages/{FIRST}.jpg", f"SegmentationClass/{FIRST}.png", f"Annotations/{FIRST}.xml"
LIST = "ImageSets/Segmentation/train.txt"
LABELS = np.ones((30, 40), np.uint8)


@dataclass(frozen=True)
class Damage:
    """One way to break the dataset.

    Attributes:
        name: of the test.
        harm: what is done to the folder VOC2012.
        sentence: pattern of the sentence that names the file and the remedy.
        check: of `harness data verify` that tells it.
        fatal: whether a run refuses the data; otherwise verification only notes it.
    """

    name: str
    harm: Callable[[Path], object]
    sentence: str
    check: str
    fatal: bool = True


def save(file: str, image: Image.Image, **options: object) -> Callable[[Path], None]:
    return lambda root: image.save(root / file, **options)


def write(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / file).write_bytes(content)


def cut(file: str) -> Callable[[Path], object]:
    return lambda root: (root / file).write_bytes((root / file).read_bytes()[:-150])


def remove(file: str) -> Callable[[Path], object]:
    return lambda root: (root / file).unlink()


def rename(file: str, name: str) -> Callable[[Path], object]:
    return lambda root: (root / file).rename((root / file).with_name(name))


def folder_instead(file: str) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        (root / file).unlink()
        (root / file).mkdir()

    return harm


def label(value: int) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        mask = LABELS.copy()
        mask[3, 3] = value
        write_mask(root / MASK, mask, voc_palette())

    return harm


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # by 90 degrees
    return exif


def other_palette(root: Path) -> None:
    write_mask(root / MASK, np.array(Image.open(root / MASK)), voc_palette()[::-1])


def dangling_link(root: Path) -> None:
    (root / IMAGE).unlink()
    (root / IMAGE).symlink_to("nowhere.jpg")


RGB = Image.new("RGB", (40, 30))
DAMAGES = [
    Damage("no folder of images", rename("JPEGImages", "Images"),
           r"no folder .*JPEGImages, where the images should be: complete", "images"),
    Damage("no folder of annotations", rename("Annotations", "annotations"),
           r"no folder .*Annotations, .*: .*harness data prepare", "labels"),
    Damage("no folder of masks", rename("SegmentationClass", "Masks"),
           r"no folder .*SegmentationClass, .*: complete", "masks"),
    Damage("no list", remove(LIST), r"train\.txt.*harness data prepare", "list"),
    Damage("empty list", write(LIST, b"\n"), r"train\.txt .*empty: replace", "list"),
    Damage("folder for a list", folder_instead(LIST), r"train\.txt is a folder: replace", "list"),
    Damage("list in another encoding", write(LIST, b"\xff\xfe2\x00"),
           r"train\.txt cannot be read .*: replace", "list"),
    Damage("duplicate id", lambda root: write_list(root, "train", [*TRAIN, FIRST]),
           rf"train\.txt .*{FIRST} twice: remove", "list"),
    Damage("list entry without image", lambda root: write_list(root, "train", [*TRAIN, "2099_000001"]),
           r"no image .*2099_000001\.jpg: complete", "images"),
    Damage("ending in capitals", rename(IMAGE, f"{FIRST}.JPG"),
           rf"no image .*{FIRST}\.jpg but a {FIRST}\.JPG: rename", "images"),
    Damage("ending jpeg", rename(IMAGE, f"{FIRST}.jpeg"), rf"but a {FIRST}\.jpeg: rename", "images"),
    Damage("link to nowhere", dangling_link, rf"{FIRST}\.jpg is a link .*: complete", "images"),
    Damage("truncated image", cut(IMAGE), rf"{FIRST}\.jpg is truncated .*: replace", "images"),
    Damage("empty image", write(IMAGE, b""), rf"{FIRST}\.jpg is empty: replace", "images"),
    Damage("text for an image", write(IMAGE, b"<html>"),
           rf"{FIRST}\.jpg cannot be read .*: replace", "images"),
    Damage("folder for an image", folder_instead(IMAGE), rf"{FIRST}\.jpg is a folder: replace", "images"),
    Damage("CMYK image", save(IMAGE, Image.new("CMYK", (40, 30))),
           rf"{FIRST}\.jpg has CMYK colours.*: replace it or convert", "images"),
    Damage("gray image", save(IMAGE, Image.new("L", (40, 30))),
           rf"{FIRST}\.jpg is gray.*: replace", "images", fatal=False),
    Damage("EXIF rotation", save(IMAGE, RGB, exif=turned()),
           rf"{FIRST}\.jpg has EXIF orientation 6.*: see that .* remove", "images", fatal=False),
    Damage("no annotation", remove(XML), rf"no annotation .*{FIRST}\.xml: .*harness data prepare", "labels"),
    Damage("empty annotation", write(XML, b""), rf"{FIRST}\.xml is empty: replace", "labels"),
    Damage("broken annotation", write(XML, b"<annotation><object>"),
           rf"{FIRST}\.xml cannot be read .*: replace", "labels"),
    Damage("folder for an annotation", folder_instead(XML), rf"{FIRST}\.xml is a folder: replace", "labels"),
    Damage("no label", lambda root: write_annotation(root, FIRST, []),
           rf"{FIRST}\.xml has no object.*: correct", "labels"),
    Damage("unknown class", lambda root: write_annotation(root, FIRST, ["persn"]),
           rf"{FIRST}\.xml names class 'persn'.*: correct", "labels"),
    Damage("no mask", remove(MASK), rf"no mask .*{FIRST}\.png: complete", "masks"),
    Damage("truncated mask", cut(MASK), rf"{FIRST}\.png cannot be read .*: replace", "masks"),
    Damage("empty mask", write(MASK, b""), rf"{FIRST}\.png is empty: replace", "masks"),
    Damage("folder for a mask", folder_instead(MASK), rf"{FIRST}\.png is a folder: replace", "masks"),
    Damage("label 21", label(21), rf"{FIRST}\.png holds label 21, .*: replace", "masks"),
    Damage("colours for labels", save(MASK, RGB),
           rf"{FIRST}\.png holds RGB colours, not labels: replace", "masks"),
    Damage("16-bit mask", save(MASK, Image.fromarray(LABELS.astype(np.uint16))),
           rf"{FIRST}\.png holds 16-bit numbers, not labels: replace", "masks"),
    Damage("one-bit mask", save(MASK, Image.fromarray(LABELS == 1)),
           rf"{FIRST}\.png holds one bit per pixel, not labels: replace", "masks"),
    Damage("JPEG for a mask", save(MASK, Image.fromarray(LABELS), format="JPEG"),
           rf"{FIRST}\.png is a JPEG file: replace", "masks"),
    Damage("mask of another size", lambda root: write_mask(root / MASK, LABELS.T, voc_palette()),
           rf"{FIRST}\.png is 30 x 40 pixels but its image .*{FIRST}\.jpg is 40 x 30: replace", "sizes"),
    Damage("palette of other colours", other_palette,
           rf"{FIRST}\.png has another palette than VOC's.*: write it again", "palette", fatal=False),
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small VOC that counts as the official one."""
    root = make_voc(tmp_path)
    voc = VOC(root, tmp_path / "cache")
    known = {}
    for split, ids in (("train", TRAIN), ("val", VAL)):
        masks = voc.masks_hash(ids, whole(voc.mask_facts(ids, split)))
        known[split] = OfficialSplit(len(ids), content_hash(sorted(ids)), masks)
    monkeypatch.setattr(VOC, "official_splits", known)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return root


def verify(root: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify", "voc", "--root", str(root), *map(str, arguments)])


def test_whole_data_pass_check_and_verification(root: Path) -> None:
    result = verify(root)
    assert result.exit_code == 0, result.output
    assert "wrong" not in result.output
    voc = VOC(root, root / "cache")
    voc.check(["train", "val"], masks_for=["train", "val"])
    assert voc.official


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_told_in_a_sentence_with_file_and_remedy(root: Path, damage: Damage) -> None:
    damage.harm(root)
    voc = VOC(root, root / "cache")
    if damage.fatal:
        with pytest.raises(InputError, match=damage.sentence):
            voc.check(["train", "val"], masks_for=["train", "val"])
    else:
        voc.check(["train", "val"], masks_for=["train", "val"])
        assert voc.official
    result = verify(root)
    assert result.exit_code == (1 if damage.fatal else 0), result.output
    told = result.output.split(f"{'wrong' if damage.fatal else 'note'}: {damage.check} of train\n")[1]
    assert re.search(damage.sentence, told.split("\n\n")[0]), told


def test_all_problems_are_told_at_once_and_the_like_are_counted(root: Path) -> None:
    for image_id in (*TRAIN, *VAL):
        (root / "JPEGImages" / f"{image_id}.jpg").write_bytes(b"")
    (root / XML).unlink()
    label(21)(root)
    output = verify(root).output
    for file in (*(f"{image_id}.jpg is empty" for image_id in (*TRAIN, *VAL)), f"{FIRST}.xml", "label 21"):
        assert file in output
    write_list(root, "train", [f"2010_{i:06}" for i in range(50)])
    output = verify(root).output
    assert output.count("there is no image") == 5
    assert "and 45 more like it" in output


def test_other_labels_in_masks_are_custom_data(root: Path) -> None:
    label(2)(root)
    voc = VOC(root, root / "cache")
    voc.check(["train"])
    assert not voc.official
    assert "masks of split 'train' are not the official ones" in voc.notices[0]
    result = verify(root)
    assert result.exit_code == 1
    assert re.search(r"SegmentationClass for split 'train' are not the official ones: replace", result.output)


def test_lists_that_differ_from_the_official_ones_are_compared_with_the_masks(root: Path) -> None:
    write_list(root, "train", TRAIN[1:])
    result = verify(root)
    assert result.exit_code == 1
    assert re.search(r"train\.txt is not the official one, which has 3 ids: replace", result.output)
    assert re.search(rf"train\.txt lacks 1 id \({FIRST}\) that have masks", result.output)
    assert not VOC(root, root / "cache").official


def test_lists_are_compared_with_others_id_by_id(root: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("\n".join([*TRAIN[1:], "2008_000001", "2008_000002"]))
    result = verify(root, "--lists", tmp_path / "lists")
    assert result.exit_code == 1
    assert re.search(r"train\.txt lacks 2 ids \(2008_000001, 2008_000002\) of .*lists/train", result.output)
    assert re.search(rf"train\.txt has 1 id \({FIRST}\) not in .*lists/train\.txt", result.output)
    nothing = verify(root, "--lists", tmp_path / "cache").exception
    assert isinstance(nothing, InputError)
    assert re.search(r"no list to compare with in .*cache: put train\.txt", str(nothing))


def test_images_that_splits_share_are_told(root: Path) -> None:
    write_list(root, "train_aug", [*TRAIN[1:], VAL[0]])
    output = verify(root).output
    assert re.search(rf"train_aug\.txt and .*val\.txt share 1 id \({VAL[0]}\).*: replace", output)
    assert re.search(rf"train_aug\.txt lacks 1 id \({FIRST}\) of train.*: replace", output)


def test_labels_derived_from_masks_are_compared_with_them(root: Path) -> None:
    (root / "ImageLabels").mkdir()
    labels = [f"{image_id} {number}" for number, image_id in enumerate([*TRAIN, *VAL], start=1)]
    (root / "ImageLabels" / "masks.txt").write_text("\n".join(labels))
    assert verify(root).exit_code == 0
    (root / "ImageLabels" / "masks.txt").write_text("\n".join([f"{FIRST} 1 2", *labels[1:]]))
    result = verify(root)
    assert result.exit_code == 1
    assert re.search(
        rf"masks\.txt has other labels for image {FIRST} than its mask .*: prepare", result.output
    )


def test_optional_lists_are_wrong_to_miss_only_where_they_are_asked_for(root: Path) -> None:
    assert re.search(r"note: list of train_aug", verify(root).output)
    result = verify(root, "--split", "train_aug")
    assert result.exit_code == 1
    assert re.search(r"no list .*train_aug\.txt: `harness data prepare` makes it", result.output)


def test_data_that_cannot_be_verified_are_wrong_input(command: Command, root: Path, tmp_path: Path) -> None:
    assert "absent" in command("data", "verify", "voc", "--root", tmp_path / "absent").sentence
    outcome = command("data", "verify", "voc", "--root", root, "--split", "trian")
    assert outcome.status == 2
    assert "did you mean 'train'" in outcome.sentence
