"""Reading COCO's instances: any block size gives the same, and whatever is wrong is named with its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data import coco_instances
from harness.data.coco_instances import read_instances, read_regions
from harness.errors import InputError
from tests.unit.coco_tree import BARE, HEIGHT, WIDTH, image_id, objects, write_instances


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_instances(tmp_path, "train2014")


def test_images_come_by_id_with_their_labels_and_regions_in_file_order(path: Path) -> None:
    images = read_instances(path)
    assert [image.id for image in images] == [image_id("train2014", number) for number in (9, 25, 30)]
    assert [image.labels for image in images] == [(1, 3, 80), (), (1, 3, 80)]  # the crowd of 30 counts too
    assert {(image.height, image.width) for image in images} == {(HEIGHT, WIDTH)}
    regions = [read_regions(path, image) for image in images]
    expected = [(row["id"], row["segmentation"]) for row in objects(30, 300)]
    assert [(region.annotation, region.segmentation) for region in regions[2]] == expected
    assert [region.label for region in regions[0]] == [1, 80, 3]
    assert regions[1] == []


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_where_blocks_end_does_not_matter(path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_instances(path)
    monkeypatch.setattr(coco_instances, "_BLOCK", block)
    assert read_instances(path) == expected


def test_white_space_order_of_members_and_further_members_do_not_matter(path: Path) -> None:
    expected = read_instances(path)
    document = json.loads(path.read_text())
    turned = {
        "version": 1.25,
        "type": "instances",
        "flags": [],
        **dict(reversed(document.items())),
        "year": 2014,
    }
    path.write_text("\n " + json.dumps(turned, indent=2) + "\n\n")
    again = read_instances(path)
    assert [(image.id, image.labels) for image in again] == [(image.id, image.labels) for image in expected]
    assert [region.annotation for region in read_regions(path, again[0])] == [90, 91, 92]


@pytest.mark.parametrize("length", [0, 1, 40, 700, -2, -1])
def test_a_truncated_file_is_named_wherever_it_was_cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"instances_train2014\.json is truncated or no JSON"):
        read_instances(path)


@pytest.mark.parametrize(
    "text",
    ["[]", "{]", "not json", '{"images": [}', '{"a": 1} more', "{" + '"a": ' + "[" * 100_000, '{"a": 1,}'],
)
def test_what_is_no_json_object_is_named(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=r"instances_train2014\.json is truncated or no JSON"):
        read_instances(path)


def test_a_value_without_an_end_is_not_read_into_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_instances, "_BLOCK", 1 << 10)
    monkeypatch.setattr(coco_instances, "_LONGEST", 1 << 12)
    path.write_text('{"info": "' + "a" * 100_000)
    with pytest.raises(InputError, match="is truncated or no JSON"):
        read_instances(path)


def test_a_missing_file_is_named(path: Path) -> None:
    path.unlink()
    with pytest.raises(InputError, match=r"there is no .*instances_train2014\.json"):
        read_instances(path)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("annotations"), "has no annotations"),
        (lambda d: d.pop("images"), "has no images"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "has annotation 90 twice"),
        (lambda d: d["images"].append(d["images"][0]), r"lists the image .*000030\.jpg twice"),
        (
            lambda d: d["annotations"][0].update(image_id=31),
            "annotations of image 31, which it does not list",
        ),
        (lambda d: d["annotations"][0].update(category_id=12), "annotation 90 in .* has category 12"),
        (lambda d: d["annotations"][0].update(category_id=91), "annotation 90 in .* has category 91"),
        (lambda d: d["annotations"][0].pop("segmentation"), "no valid entry of annotations .*segmentation"),
        (lambda d: d["annotations"][0].update(image_id="9"), "no valid entry of annotations .*'9' is no int"),
        (lambda d: d["annotations"].append(5), "no valid entry of annotations"),
        (lambda d: d["images"][0].pop("width"), "no valid entry of images .*width"),
        (lambda d: d["images"][0].update(height=None), "no valid entry of images .*None is no integer"),
        (
            lambda d: d["images"][0].update(file_name="000000000030.jpg"),
            "lists the image 000000000030.jpg, but",
        ),
        (lambda d: d["images"][0].update(file_name="../30.jpg"), r"lists the image \.\./30.jpg, but"),
        (lambda d: d["categories"].append({"id": 12, "name": "street sign"}), "category 12 'street sign'"),
        (lambda d: d["categories"][0].update(name="aeroplane"), "category 1 'aeroplane'"),
    ],
)
def test_every_inconsistency_is_one_sentence_that_names_the_file(
    path: Path, change: Change, message: str
) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        read_instances(path)
    assert "instances_train2014.json" in str(caught.value)


def test_images_without_annotation_are_told_by_the_file_alone(path: Path) -> None:
    bare = [image.id for image in read_instances(path) if not image.spans]
    assert bare == [image_id("train2014", BARE["train2014"])]
