"""Localisation: boxes and their accuracies, the stage on shapes, the datasets with boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from harness.data import open_dataset
from harness.data.boxed import CUB, ILSVRC
from harness.data.voc import read_object_boxes
from harness.errors import InputError
from harness.inference import LocalizationCAM
from harness.metrics.localization import (
    Localized,
    best_iou,
    box_iou,
    boxes_at_level,
    boxes_of_map,
    localization_metrics,
    normalise_map,
    pixel_average_precision,
    pixel_counts,
    score_map,
)
from tests.tiny_stages import CAMS, TRAIN, run

LOC: dict[str, Any] = {
    "type": "evaluate",
    "metric": "localization",
    "split": "train",
    "scores": "cam_scores",
    "number": "loc",
    "threshold": 0.35,
    "sweep": {"start": 0.0, "stop": 0.9, "step": 0.1},
}


def two_blobs() -> np.ndarray:
    """A map (40, 60) with a larger blob of 0.6 and a smaller one of 1."""
    scores = np.zeros((40, 60))
    scores[5:25, 10:30] = 0.6
    scores[30:36, 40:50] = 1.0
    return scores


def test_a_box_is_one_pixel_larger_than_tight_and_ends_with_the_map() -> None:
    large, small = boxes_of_map(two_blobs(), [0.5, 0.8], multiple=False)
    assert large.tolist() == [[10, 5, 30, 25]]
    assert small.tolist() == [[40, 30, 50, 36]]
    edge = np.zeros((20, 20), np.uint8)
    edge[10:, 10:] = 255
    assert boxes_at_level(edge, 128, multiple=False).tolist() == [[10, 10, 19, 19]]


def test_every_contour_has_a_box_a_hole_too_and_nothing_has_one_of_zeros() -> None:
    assert len(boxes_of_map(two_blobs(), [0.5], multiple=True)[0]) == 2
    ring = np.zeros((30, 30), np.uint8)
    ring[5:25, 5:25], ring[10:20, 10:20] = 255, 0
    assert len(boxes_at_level(ring, 0, multiple=True)) == 2
    assert boxes_at_level(np.zeros((8, 8), np.uint8), 0, multiple=True).tolist() == [[0, 0, 0, 0]]


def test_levels_that_see_the_same_pixels_give_what_each_alone_gives() -> None:
    scores = score_map(np.random.default_rng(0).random((7, 7)))
    thresholds = np.arange(0, 1, 0.02).tolist()
    pixels = np.floor(255 * scores).astype(np.uint8)
    for multiple in (False, True):
        together = boxes_of_map(scores, thresholds, multiple=multiple)
        alone = [boxes_at_level(pixels, int(t * pixels.max()), multiple=multiple) for t in thresholds]
        assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
        truth = np.array([[20, 30, 150, 180], [0, 0, 40, 40]])
        expected = [box_iou(boxes, truth).max() for boxes in alone]
        np.testing.assert_array_equal(best_iou(scores, truth, thresholds, multiple=multiple), expected)


@pytest.mark.parametrize("wrong", [np.full((4, 4), 0.3), np.full((4, 4), np.nan)])
def test_a_map_that_tells_nothing_becomes_zeros(wrong: np.ndarray) -> None:
    assert not normalise_map(wrong).any()


def test_the_accuracies_follow_their_definitions() -> None:
    images = [
        Localized(np.array([0.6, 0.2]), np.array([0.8, 0.4]), rank=0),
        Localized(np.array([0.4, 0.9]), np.array([0.4, 0.9]), rank=3),
        Localized(np.array([0.1, 0.5]), np.array([0.1, 0.6]), rank=7),
    ]
    found = localization_metrics(images, [0.1, 0.2])
    assert found.threshold == 0.2
    assert found.hits.tolist() == [False, True, True]
    assert found.max_box_acc == pytest.approx(2 / 3)
    assert found.levels == pytest.approx({0.3: 1.0, 0.5: 2 / 3, 0.7: 1 / 3})
    assert found.max_box_acc_v2 == pytest.approx(2 / 3)
    assert (found.top1, found.top5) == pytest.approx((1 / 3, 2 / 3))
    assert (found.top1_loc, found.top5_loc) == pytest.approx((0.0, 1 / 3))
    plain = localization_metrics([Localized(i.single, i.multiple) for i in images], [0.1, 0.2])
    assert plain.top1_loc is None
    assert plain.top5 is None
    first = localization_metrics([image.at([0]) for image in images], [0.1])
    assert first.threshold == 0.1
    assert first.max_box_acc == pytest.approx(1 / 3)


def test_pixel_average_precision_is_one_for_a_perfect_map_and_the_share_for_a_constant_one() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:5], mask[9] = 3, 255
    assert pixel_average_precision(pixel_counts((mask == 3) * 0.9, mask, 3)) == pytest.approx(1.0)
    assert pixel_average_precision(pixel_counts(np.zeros((10, 10)), mask, 3)) == pytest.approx(50 / 90)
    assert pixel_average_precision(pixel_counts(np.zeros((10, 10)), mask, 4)) is None


def test_the_stage_evaluates_images_of_one_class(tmp_path: Path, shapes_root: Path) -> None:
    run(tmp_path / "cam", shapes_root, TRAIN)
    cams = {**CAMS, "inference": {"type": "LocalizationCAM", "side": 64}}
    run(tmp_path / "cam_scores", shapes_root, cams, inputs={"checkpoint": tmp_path / "cam"})
    inputs = {"scores": tmp_path / "cam_scores"}
    report = run(tmp_path / "loc", shapes_root, LOC, inputs=inputs)
    best, fixed = report.metrics
    dataset = open_dataset("shapes", shapes_root)
    single = [i for i in dataset.ids("train")[:6] if dataset.image_labels(i).sum() == 1]
    assert best.protocol.images == len(single) == report.images
    assert best.protocol.metric == "MaxBoxAccV2"
    assert best.number == "loc"
    assert fixed.threshold == 0.35
    assert best.value >= fixed.value
    assert best.localization["PxAP"] is not None
    assert best.localization["Top-1 Loc"] is None
    again = run(tmp_path / "parallel", shapes_root, LOC, inputs=inputs, workers=2)
    assert again.metrics == report.metrics


class Told(nn.Module):
    """A network with class scores."""

    def forward(self, inputs: torch.Tensor, mode: str) -> torch.Tensor:
        return inputs[:, :, ::8, ::8].relu()

    def class_scores(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.mean((2, 3))


def test_class_scores_are_stored_where_the_network_has_them() -> None:
    inference, image = LocalizationCAM(side=32), np.full((20, 50, 3), 255, np.uint8)
    prepared = inference.prepare(image, np.array([0, 1, 0], np.float32))
    scores = inference.infer(Told(), prepared, torch.device("cpu"))
    assert scores["cam"].shape == (1, 4, 4)
    assert scores["high_res"].shape == (1, 20, 50)
    assert scores["class_scores"].shape == (3,)
    assert scores["keys"].tolist() == [1]


def test_boxes_of_an_annotation_count_from_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    box = "<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>8</ymax></bndbox>"
    path.write_text(f"<annotation><object><name>cat</name>{box}</object></annotation>")
    assert read_object_boxes(path, "cat").tolist() == [[0, 2, 9, 7]]
    with pytest.raises(InputError, match="no box of 'dog'"):
        read_object_boxes(path, "dog")
    path.write_text("<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(InputError, match="no box of 'cat'"):
        read_object_boxes(path, "cat")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(path)


def a_cub(root: Path) -> Path:
    folder = root / "CUB_200_2011"
    write(folder / "images.txt", "1 001.A/a_1.jpg\n2 002.B/b_2.jpg\n")
    write(folder / "image_class_labels.txt", "1 1\n2 2\n")
    write(folder / "train_test_split.txt", "1 1\n2 0\n")
    write(folder / "bounding_boxes.txt", "1 3.0 4.0 10.0 8.0\n2 1.0 1.0 5.5 6.0\n")
    for name in ("001.A/a_1.jpg", "002.B/b_2.jpg"):
        picture(folder / "images" / name)
    return root


def an_ilsvrc(root: Path) -> Path:
    write(root / "metadata/val/image_ids.txt", "val/x/1.JPEG\nval/y/1.JPEG\n")
    write(root / "metadata/val/class_labels.txt", "val/x/1.JPEG,7\nval/y/1.JPEG,999\n")
    write(root / "metadata/val/localization.txt", "val/x/1.JPEG,1,2,9,8\nval/x/1.JPEG,3,3,20,15\n")
    for name in ("x", "y"):
        picture(root / f"val/{name}/1.JPEG")
    return root


def test_cub_is_read_in_its_official_layout(tmp_path: Path) -> None:
    dataset = CUB(a_cub(tmp_path), cache=tmp_path / "cache")
    assert dataset.ids("train") == ("001.A__a_1",)
    assert dataset.ids("test") == ("002.B__b_2",)
    assert dataset.image_labels("002.B__b_2").nonzero()[0].tolist() == [1]
    assert dataset.boxes("002.B__b_2", 1).tolist() == [[1, 1, 6, 7]]
    dataset.check(["train", "test"])
    before = dataset.fingerprint(["test"])
    write(tmp_path / "CUB_200_2011/bounding_boxes.txt", "1 3 4 10 8\n2 1 1 6 6\n")
    assert CUB(tmp_path, cache=tmp_path / "cache").fingerprint(["test"]) != before


def test_ilsvrc_is_read_from_the_public_metadata(tmp_path: Path) -> None:
    dataset = ILSVRC(an_ilsvrc(tmp_path), cache=tmp_path / "cache")
    assert dataset.ids("val") == ("val__x__1", "val__y__1")
    assert dataset.boxes("val__x__1", 7).tolist() == [[1, 2, 9, 8], [3, 3, 20, 15]]
    assert dataset.image_labels("val__y__1").argmax() == 999
    dataset.check(["val"])
    with pytest.raises(InputError, match="has no box of image val__y__1"):
        dataset.boxes("val__y__1", 999)


def read_all(dataset: ILSVRC) -> None:
    """Read what is known of an image."""
    dataset.ids("val")
    dataset.image_labels("val__x__1")
    dataset.boxes("val__x__1", 7)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("image_ids", "", "is empty"),
        ("image_ids", "../../etc/passwd\n", "outside of the dataset"),
        ("class_labels", "val/x/1.JPEG;7\n", "line 1 of .*class_labels.txt has 1 values instead of 2"),
        ("class_labels", "val/x/1.JPEG,cat\n", "'cat' where numbers should be"),
        ("class_labels", "val/x/1.JPEG,1000\n", "class 1000"),
        ("class_labels", "val/y/1.JPEG,3\n", "no class"),
        ("localization", "val/x/1.JPEG,1,2,9\n", "has 4 values instead of 5"),
        ("localization", "val/x/1.JPEG,9,2,1,8\n", "no box of image val__x__1"),
    ],
)
def test_broken_metadata_is_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    root = an_ilsvrc(tmp_path)
    write(root / f"metadata/val/{name}.txt", text)
    with pytest.raises(InputError, match=message):
        read_all(ILSVRC(root, cache=tmp_path / "cache"))


def test_a_dataset_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train_test_split"):
        CUB(tmp_path).ids("train")
