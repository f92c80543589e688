"""What is settled before the first stage: images, weights, GPUs, the work folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import METHODS, load_config
from harness.data import open_dataset
from harness.errors import InputError
from harness.prepare import limited_ids, require_folder, resolve_weights, usable_gpus

VOC = load_config(METHODS / "vwe" / "voc.py")
SHAPES = load_config(METHODS / "vwe" / "shapes.py")
NAMES = {"resnet50-imagenet1k-v1", "deeplabv1-resnet101-coco"}


@pytest.mark.parametrize("limit", [1, 10, 16, 20])
def test_seeds_of_a_shortened_train_are_among_those_of_the_shortened_train_aug(
    shapes_root: Path, limit: int
) -> None:
    dataset = open_dataset("shapes", shapes_root)
    train, train_aug = (limited_ids(dataset, split, limit) for split in ("train", "train_aug"))
    assert len(train) == min(limit, 16)
    assert len(train_aug) == limit
    assert set(train) <= set(train_aug)


@pytest.mark.parametrize("limit", [None, 24, 1000])
def test_without_a_limit_or_with_a_larger_one_all_images_are_used(
    shapes_root: Path, limit: int | None
) -> None:
    dataset = open_dataset("shapes", shapes_root)
    assert limited_ids(dataset, "train_aug", limit) == dataset.ids("train_aug")


def test_weights_none_means_random_numbers_everywhere() -> None:
    assert resolve_weights(VOC, ["none"]) == dict.fromkeys(NAMES)
    assert resolve_weights(SHAPES, []) == {}
    assert resolve_weights(SHAPES, ["none"]) == {}


def test_one_file_of_several_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.pth").write_bytes(b"weights")
    found = resolve_weights(VOC, ["none", f"resnet50-imagenet1k-v1={tmp_path / 'mine.pth'}"])
    chosen = found["resnet50-imagenet1k-v1"]
    assert chosen is not None
    assert (chosen.path, chosen.source) == (tmp_path / "mine.pth", "local file")
    assert found["deeplabv1-resnet101-coco"] is None


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("model.pth", r"the config starts from 2 weights \(.*\); say which one the file is for"),
        ("resnet50-imagenet1k=none", r"does not use 'resnet50-imagenet1k' \(did you mean 'resnet50-imag"),
        ("resnet50-imagenet1k-v1=nowhere.pth", "is not there: .*nowhere.pth"),
    ],
)
def test_a_choice_of_weights_that_fits_nothing_is_one_sentence(choice: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_weights(VOC, ["none", choice])


def test_a_stage_gets_one_gpu_where_there_is_one_and_never_more_than_there_are() -> None:
    assert [usable_gpus(None, there) for there in (0, 1, 4)] == [0, 1, 1]
    assert [usable_gpus(wanted, 4) for wanted in (0, 2, 4)] == [0, 2, 4]
    with pytest.raises(InputError, match="--gpus 5: this machine has 4 GPUs"):
        usable_gpus(5, 4)


def test_a_file_above_the_work_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    require_folder(tmp_path / "new" / "deep")
    with pytest.raises(InputError, match=r"because .*/file is a file"):
        require_folder(tmp_path / "file" / "deep")
