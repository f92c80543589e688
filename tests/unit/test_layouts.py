"""Predictions of other codes: layouts are recognised, read and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.palette import voc_palette, write_mask
from harness.errors import InputError
from harness.layouts import LAYOUTS, Predictions, open_predictions

SIZE = (6, 8)
CLASSES = {"a": (3, 7), "b": (0,), "c": (7, 19)}  # class indices of three images


def maps(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, *SIZE), dtype=np.float32)


def save(path: Path, value: Any) -> None:
    np.save(path, value, allow_pickle=True)


def write_folder(folder: Path, layout: str) -> Path:
    """The same three images in a layout."""
    folder.mkdir()
    for name, classes in CLASSES.items():
        found = maps(len(classes))
        with_background = np.concatenate([np.full((1, *SIZE), 0.5, np.float32), found])
        if layout == "cam-index":
            save(folder / f"{name}.npy", dict(zip(classes, found, strict=True)))
        elif layout == "cam-label":
            labels = (0, *(index + 1 for index in classes))
            save(folder / f"{name}.npy", dict(zip(labels, with_background, strict=True)))
        elif layout == "irn":
            document = {"keys": torch.tensor(classes), "cam": torch.from_numpy(found[:, ::4, ::4])}
            save(folder / f"{name}.npy", {**document, "high_res": found})
        elif layout == "scores":
            save(folder / f"{name}.npy", maps(21).astype(np.float16))
        elif layout == "masks":
            write_mask(folder / f"{name}.png", np.full(SIZE, classes[0] + 1, np.uint8), voc_palette())
        else:
            arrays = {"keys": np.array(classes), "cam": found[:, ::4, ::4], "high_res": found}
            np.savez(folder / f"{name}.npz", **arrays)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised(tmp_path: Path, layout: str) -> None:
    folder = write_folder(tmp_path / "them", layout)
    (folder / ".hidden").write_text("")
    (folder / "log.txt").write_text("")
    found = open_predictions(folder)
    assert (found.layout, found.ids) == (layout, ("a", "b", "c"))
    assert found.kind == LAYOUTS[layout].kind


@pytest.mark.parametrize("layout", ["cam-index", "irn", "harness"])
def test_cams_are_those_of_the_class_indices(tmp_path: Path, layout: str) -> None:
    found = open_predictions(write_folder(tmp_path / "them", layout))
    for name, classes in CLASSES.items():
        read = found.read(name)
        assert read.keys.tolist() == list(classes)
        assert read.maps.dtype == np.float32
        assert np.array_equal(read.maps, maps(len(classes)))


def test_labels_as_keys_begin_with_the_background(tmp_path: Path) -> None:
    found = open_predictions(write_folder(tmp_path / "them", "cam-label")).read("c")
    assert found.keys.tolist() == [0, 8, 20]
    assert (found.maps[0] == 0.5).all()
    assert np.array_equal(found.maps[1:], maps(2))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_score_maps_have_all_labels_as_keys(tmp_path: Path, suffix: str) -> None:
    found = maps(21)
    if suffix == "npy":
        save(tmp_path / "a.npy", found)
    else:
        np.savez(tmp_path / "a.npz", found)
    read = open_predictions(tmp_path).read("a")
    assert read.keys.tolist() == list(range(21))
    assert np.array_equal(read.maps, found)


def test_masks_are_labels(tmp_path: Path) -> None:
    mask = open_predictions(write_folder(tmp_path / "them", "masks")).read_mask("a")
    assert mask.dtype == np.uint8
    assert (mask == 4).all()


def test_unsorted_keys_are_sorted_with_their_maps(tmp_path: Path) -> None:
    first, second = maps(2)
    save(tmp_path / "a.npy", {9: first, 2: second})
    keys, found = open_predictions(tmp_path, "cam-index").read("a")
    assert keys.tolist() == [2, 9]
    assert np.array_equal(found, [second, first])


def test_a_map_for_every_class_is_told_from_labels_by_the_number_of_classes(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.npy", dict(enumerate(maps(20))))
    assert open_predictions(tmp_path, num_classes=20).layout == "cam-index"
    assert open_predictions(tmp_path, num_classes=19).layout == "cam-label"
    with pytest.raises(InputError, match=r"class indices, or labels with background as 0: say which"):
        open_predictions(tmp_path)
    assert open_predictions(tmp_path, "cam-label").kind == "scores"


@pytest.mark.parametrize(
    ("value", "layout", "message"),
    [
        ({1: np.zeros(SIZE), 2: np.zeros((3, 3))}, "cam-index", "does not hold maps of one size"),
        ({}, "cam-index", "does not hold maps of one size"),
        ({-1: np.zeros(SIZE)}, "cam-index", "does not hold maps of one size"),
        ({"dog": np.zeros(SIZE)}, "cam-index", "no dictionary of maps by class"),
        (np.zeros((2, *SIZE)), "cam-index", "no dictionary of maps by class"),
        ({1: np.full(SIZE, np.nan)}, "cam-index", "no finite numbers"),
        ({1: np.zeros(SIZE)}, "cam-label", r"no map of the background \(key 0\): its --layout may be cam-i"),
        ({1: np.zeros(SIZE)}, "irn", "no keys, cam and high_res"),
        (dict.fromkeys(["keys", "cam", "high_res"], np.zeros(3)), "irn", "do not go together"),
        (np.zeros(SIZE), "scores", r"one array \(classes \+ 1, H, W\)"),
        ({1: np.zeros(SIZE)}, "scores", r"one array \(classes \+ 1, H, W\)"),
    ],
)
def test_files_that_do_not_have_their_layout_are_named(
    tmp_path: Path, value: Any, layout: str, message: str
) -> None:
    save(tmp_path / "a.npy", value)
    with pytest.raises(InputError, match=rf"a\.npy.* {message}|a\.npy:? .*{message}"):
        Predictions(tmp_path, layout).read("a")


@pytest.mark.parametrize(
    ("names", "layout", "message"),
    [
        ([], None, r"no \.npy, \.npz or \.png files"),
        (["a.npy", "a.png"], None, r"both \.npy and \.png files"),
        (["a.png"], "irn", r"no \.npy files, as layout 'irn' has"),
        (["a.png"], "mask", r"no layout 'mask' \(did you mean 'masks'\?\); the layouts are cam-index"),
    ],
)
def test_folders_that_fit_no_layout(
    tmp_path: Path, names: list[str], layout: str | None, message: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=message):
        open_predictions(tmp_path, layout)


def test_a_missing_folder_and_a_missing_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        open_predictions(tmp_path / "nowhere")
    found = open_predictions(write_folder(tmp_path / "them", "masks"))
    with pytest.raises(InputError, match="no prediction of image z"):
        found.read_mask("z")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros((2, 100, 100), np.float32))
    monkeypatch.setattr("harness.layouts.MAX_BYTES", 10_000)
    with pytest.raises(InputError, match="unpacks to 80128 bytes, more than 10000"):
        open_predictions(tmp_path, "scores").read("a")
