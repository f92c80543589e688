"""Imports and exports: what goes through another code's layout comes back as it was."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.artifact import Artifact
from harness.data.palette import read_mask, voc_palette, write_mask
from harness.errors import InputError
from harness.export_results import export_results
from harness.import_results import ABSENT, import_predictions
from harness.layouts import open_predictions
from harness.stages.per_image import load_scores, save_scores

CLASSES = 10
SIZE = (9, 14)
IMAGES = {"a": (0,), "b": (2, 9), "c": (3, 4, 5)}


def cams(name: str) -> dict[str, np.ndarray]:
    """What an infer stage stores of an image."""
    rng, count = np.random.default_rng(ord(name)), len(IMAGES[name])
    return {
        "keys": np.array(IMAGES[name], np.int64),
        "cam": rng.random((count, 3, 4), dtype=np.float32),
        "high_res": rng.random((count, *SIZE), dtype=np.float32),
    }


@pytest.fixture
def ours(tmp_path: Path) -> Artifact:
    """CAMs of three images."""
    artifact = Artifact(tmp_path / "ours").open()
    for name in IMAGES:
        save_scores(artifact.files / f"{name}.npz", cams(name))
    artifact.finish("scores", "cam_scores", "k", {"scores": "cam"})
    return artifact


@pytest.fixture
def logits(tmp_path: Path) -> Artifact:
    """Logits of one image."""
    artifact = Artifact(tmp_path / "logits").open()
    values = np.random.default_rng(0).normal(size=(CLASSES + 1, 3, 4)).astype(np.float32)
    save_scores(artifact.files / "a.npz", {"logits": values, "size": np.array(SIZE)})
    artifact.finish("scores", "seg_scores", "k", {"scores": "logits"})
    return artifact


def there_and_back(artifact: Artifact, layout: str, folder: Path, workers: int = 1) -> Artifact:
    """Export, import; the layout is recognised."""
    export_results(artifact, layout, folder / layout, classes=CLASSES, background=0.3, workers=workers)
    predictions = open_predictions(folder / layout, num_classes=CLASSES)
    assert predictions.layout == layout
    import_predictions(predictions, folder / "back", classes=CLASSES, workers=workers)
    back = Artifact(folder / "back")
    assert back.problem() is None
    return back


@pytest.mark.parametrize("layout", ["irn", "cam-index"])
def test_cams_come_back(ours: Artifact, layout: str, tmp_path: Path) -> None:
    back = there_and_back(ours, layout, tmp_path, workers=2)
    assert back.manifest.kind == "scores"
    assert back.manifest.meta["scores"] == "cam"
    assert back.manifest.meta["inference"] == {"type": "imported", "layout": layout}
    assert set(back.manifest.files) == {f"{name}.npz" for name in IMAGES}
    for name in IMAGES:
        found, expected = load_scores(back.files / f"{name}.npz"), cams(name)
        np.testing.assert_array_equal(found["keys"], expected["keys"])
        np.testing.assert_array_equal(found["high_res"], expected["high_res"])
        if layout == "irn":
            np.testing.assert_array_equal(found["cam"], expected["cam"])
        else:  # dictionaries have no small map: it is made
            assert found["cam"].shape == expected["cam"].shape
            middle = torch.nn.functional.interpolate(
                torch.tensor(expected["high_res"])[None], (3, 4), mode="bilinear"
            )
            np.testing.assert_array_equal(found["cam"], middle[0].numpy())


@pytest.mark.parametrize("layout", ["cam-label", "scores"])
def test_cams_with_a_background_become_logits(ours: Artifact, layout: str, tmp_path: Path) -> None:
    back = there_and_back(ours, layout, tmp_path)
    assert back.manifest.meta["scores"] == "logits"
    found, expected = load_scores(back.files / "b.npz"), cams("b")
    assert found["size"].tolist() == list(SIZE)
    assert (found["logits"][0] == np.float32(0.3)).all()
    np.testing.assert_array_equal(found["logits"][[3, 10]], expected["high_res"])
    absent = ABSENT if layout == "cam-label" else 0
    assert (found["logits"][[1, 2, 4, 5, 6, 7, 8, 9]] == absent).all()


def test_masks_are_the_best_labels(ours: Artifact, tmp_path: Path) -> None:
    back = there_and_back(ours, "masks", tmp_path)
    assert back.manifest.kind == "masks"
    assert back.manifest.meta["refiner"] == {"type": "imported", "layout": "masks"}
    maps = np.concatenate([np.full((1, *SIZE), 0.3, np.float32), cams("c")["high_res"]])
    expected = np.array([0, 4, 5, 6])[maps.argmax(0)]
    np.testing.assert_array_equal(read_mask(back.files / "c.png"), expected)


def test_logits_are_exported_at_the_size_of_the_image(logits: Artifact, tmp_path: Path) -> None:
    export_results(logits, "scores", tmp_path / "scores", classes=CLASSES)
    found = np.load(tmp_path / "scores" / "a.npy")
    assert found.shape == (CLASSES + 1, *SIZE)
    assert found.dtype == np.float32
    export_results(logits, "masks", tmp_path / "masks", classes=CLASSES)
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "a.png"), found.argmax(0))


def test_dictionaries_are_those_that_numpy_of_any_version_loads(ours: Artifact, tmp_path: Path) -> None:
    export_results(ours, "cam-index", tmp_path / "them", classes=CLASSES)
    path = tmp_path / "them" / "b.npy"
    loaded = np.load(path, allow_pickle=True).item()
    assert list(loaded) == [2, 9]
    np.testing.assert_array_equal(loaded[9], cams("b")["high_res"][1])
    body = path.read_bytes()[128:]
    names = [argument for opcode, argument, _ in pickletools.genops(body) if opcode.name == "GLOBAL"]
    assert "numpy.core.multiarray _reconstruct" in names
    assert not [name for name in names if "_core" in str(name)]


@pytest.mark.parametrize(
    ("layout", "background", "message"),
    [
        ("cam-label", None, "layout 'cam-label' has a background, and CAMs have none: give its score"),
        (
            "harness",
            None,
            "cam of stage 'cam_scores' cannot be exported as 'harness'; layouts for them: cam-i",
        ),
    ],
)
def test_exports_that_make_no_sense(
    ours: Artifact, layout: str, background: float | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        export_results(ours, layout, tmp_path / "them", classes=CLASSES, background=background)
    assert not (tmp_path / "them").exists()


def test_logits_have_no_cams(logits: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="logits of stage 'seg_scores' cannot be exported as 'irn'"):
        export_results(logits, "irn", tmp_path / "them", classes=CLASSES)


def test_a_folder_that_holds_something_is_left_alone(ours: Artifact, tmp_path: Path) -> None:
    export_results(ours, "irn", tmp_path / "them", classes=CLASSES)
    before = {path: path.read_bytes() for path in (tmp_path / "them").iterdir()}
    with pytest.raises(InputError, match="them is not empty: name a new folder for the export"):
        export_results(ours, "cam-index", tmp_path / "them", classes=CLASSES)
    with pytest.raises(InputError, match="them is not empty: name a new folder for the import"):
        import_predictions(open_predictions(tmp_path / "them"), tmp_path / "them", classes=CLASSES)
    assert {path: path.read_bytes() for path in (tmp_path / "them").iterdir()} == before


def test_classes_that_the_dataset_has_not_are_named_and_nothing_is_left(
    ours: Artifact, tmp_path: Path
) -> None:
    export_results(ours, "irn", tmp_path / "them", classes=CLASSES)
    predictions = open_predictions(tmp_path / "them")
    with pytest.raises(InputError, match=r"b\.npy has a map of key 9, but the dataset has keys 0 to 8"):
        import_predictions(predictions, tmp_path / "back", classes=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "them"]


def test_a_label_that_is_no_class_is_named(tmp_path: Path) -> None:
    (tmp_path / "them").mkdir()
    write_mask(tmp_path / "them" / "a.png", np.full(SIZE, 11, np.uint8), voc_palette())
    with pytest.raises(InputError, match=r"a\.png holds label 11"):
        import_predictions(open_predictions(tmp_path / "them"), tmp_path / "back", classes=CLASSES)


def test_scores_outside_of_0_and_1_are_counted(tmp_path: Path) -> None:
    (tmp_path / "them").mkdir()
    for name, value in (("a", 1.5), ("b", 0.5), ("c", -0.1)):
        np.save(tmp_path / "them" / f"{name}.npy", {3: np.full(SIZE, value)}, allow_pickle=True)
    summary = import_predictions(open_predictions(tmp_path / "them"), tmp_path / "back", classes=CLASSES)
    assert (summary.images, summary.outside) == (3, 2)
