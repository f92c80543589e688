"""Example pictures of an evaluation: which images, what they show, and that they are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data import Dataset, open_dataset
from harness.data.palette import read_mask, write_mask
from harness.stages.examples import (
    COUNT,
    FALSE_ALARM,
    LONG_SIDE,
    MISSED,
    NOT_COUNTED,
    RIGHT_BACKGROUND,
    RIGHT_OBJECT,
    WRONG_CLASS,
    ExampleIndex,
    Prediction,
    cam_prediction,
    error_map,
    heat_colours,
    pick,
    write_examples,
)
from tests.unit.voc_tree import TRAIN, make_voc


@pytest.fixture
def dataset(shapes_root: Path) -> Dataset:
    return open_dataset("shapes", shapes_root)


def read_index(files: Path) -> ExampleIndex:
    return ExampleIndex.model_validate_json((files / "examples" / "index.json").read_bytes())


def perfect(dataset: Dataset) -> Callable[[str], Prediction]:
    return lambda image_id: Prediction(dataset.read_mask(image_id, "train"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), unique=True, max_size=40), st.integers(1, 9))
def test_picked_ids_are_spread_over_the_split_in_its_order(ids: list[str], count: int) -> None:
    picked = pick(ids, count)
    assert len(picked) == min(count, len(ids))
    places = [ids.index(image_id) for image_id in picked]
    assert places == sorted(set(places))
    gaps = {after - before for before, after in pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_evaluations_of_one_split_show_the_same_images(tmp_path: Path, dataset: Dataset) -> None:
    ids = dataset.ids("train")
    for name in ("seeds", "pseudo_eval"):
        (tmp_path / name).mkdir()
        write_examples(tmp_path / name, dataset, "train", ids, perfect(dataset))
    first, second = (read_index(tmp_path / name) for name in ("seeds", "pseudo_eval"))
    assert [example.id for example in first.examples] == pick(ids)
    assert first == second


def test_every_picture_of_the_index_is_there_and_nothing_else(tmp_path: Path, dataset: Dataset) -> None:
    def predict(image_id: str) -> Prediction:
        truth = dataset.read_mask(image_id, "train")
        return Prediction(truth, (truth > 0).astype(np.float32))

    write_examples(tmp_path, dataset, "train", dataset.ids("train"), predict, threshold=0.3)
    index = read_index(tmp_path)
    assert (index.split, index.threshold, len(index.examples)) == ("train", 0.3, COUNT)
    named = [name for example in index.examples for name in example.pictures.values()]
    assert {*named, "index.json"} == set(contents(tmp_path / "examples"))
    for example in index.examples:
        assert list(example.pictures) == ["image", "cam", "truth", "prediction", "errors"]
        assert example.mean_iou == 1
        assert set(example.classes) <= set(dataset.classes[1:])


def test_label_pictures_keep_labels_and_colours(tmp_path: Path, dataset: Dataset) -> None:
    write_examples(tmp_path, dataset, "train", dataset.ids("train"), perfect(dataset))
    example = read_index(tmp_path).examples[0]
    path = tmp_path / "examples" / example.pictures["truth"]
    assert np.array_equal(read_mask(path), dataset.read_mask(example.id, "train"))
    with Image.open(path) as picture:
        assert picture.getpalette()[: 3 * 11] == dataset.palette[:11].ravel().tolist()


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path, dataset: Dataset) -> None:
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        write_examples(tmp_path / name, dataset, "train", dataset.ids("train"), perfect(dataset))
    write_examples(tmp_path / "again", dataset, "train", dataset.ids("train"), perfect(dataset))
    assert contents(tmp_path / "once" / "examples") == contents(tmp_path / "again" / "examples")


def test_a_dataset_without_its_images_still_gives_masks(tmp_path: Path) -> None:
    dataset = open_dataset("voc", make_voc(tmp_path))
    dataset.image_path(TRAIN[0]).unlink()
    write_examples(tmp_path, dataset, "train", TRAIN, perfect(dataset))
    kinds = [list(example.pictures) for example in read_index(tmp_path).examples]
    assert kinds == [["truth", "prediction", "errors"]] + [["image", "truth", "prediction", "errors"]] * 2


def test_large_pictures_shrink_and_labels_do_not_mix(tmp_path: Path) -> None:
    dataset = open_dataset("voc", make_voc(tmp_path))
    truth = np.zeros((200, 1000), np.uint8)
    truth[:, 500:] = 20
    write_mask(dataset.mask_path(TRAIN[0], "train"), truth, dataset.palette)
    Image.new("RGB", (1000, 200)).save(dataset.image_path(TRAIN[0]))
    write_examples(tmp_path, dataset, "train", TRAIN[:1], perfect(dataset))
    pictures = read_index(tmp_path).examples[0].pictures
    for name in pictures.values():
        with Image.open(tmp_path / "examples" / name) as picture:
            assert picture.size == (LONG_SIDE, LONG_SIDE // 5)
    assert set(np.unique(read_mask(tmp_path / "examples" / pictures["truth"]))) == {0, 20}


def test_cams_are_cut_as_the_sweep_cuts_them() -> None:
    keys, maps = np.array([2, 7]), np.array([[[0.3, 0.2, 0.5, 0.0]], [[0.3, 0.4, 0.4, 0.0]]], np.float32)
    prediction = cam_prediction(keys, maps, 0.3)
    # At the threshold itself a pixel is background.
    assert prediction.mask.tolist() == [[0, 8, 3, 0]]
    assert np.array_equal(prediction.cam, maps.max(0))


def test_cams_of_an_image_without_classes_are_background() -> None:
    prediction = cam_prediction(np.zeros(0, int), np.zeros((0, 2, 3), np.float32), 0.3)
    assert prediction.mask.tolist() == [[0] * 3] * 2
    assert prediction.cam is not None
    assert prediction.cam.shape == (2, 3)


def test_an_error_map_tells_the_kinds_of_errors_apart() -> None:
    truth = np.array([[0, 0, 5, 5, 5, 255, 5, 0]], np.uint8)
    mask = np.array([[0, 5, 5, 0, 6, 5, 255, 255]], np.uint8)
    expected = [
        RIGHT_BACKGROUND,
        FALSE_ALARM,
        RIGHT_OBJECT,
        MISSED,
        WRONG_CLASS,
        NOT_COUNTED,
        MISSED,
        RIGHT_BACKGROUND,
    ]
    assert error_map(truth, mask).tolist() == [expected]


def test_heat_grows_brighter_with_the_score() -> None:
    colours = heat_colours(np.linspace(0, 1, 50, dtype=np.float32)[None])
    brightness = colours[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()
    assert brightness[0] < 5
    assert brightness[-1] > 240
