"""Auxiliary maps: found, checked and hashed before a run, moved with the image, handed to the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from PIL import Image
from torch import Tensor

from harness.config import METHODS, load_config
from harness.data import open_dataset
from harness.data.auxiliary import check_maps, parse_folders, read_map, stand_in
from harness.data.shapes import ShapesSpec, picture_index
from harness.data.shapes_saliency import draw_saliency, make_saliency
from harness.data.shapes_scene import draw_scene
from harness.data.stream import TrainStream
from harness.data.transforms import LongSideCrop, WholeImage
from harness.data.voc import VOC
from harness.errors import InputError
from harness.plan import Ingredients, make_plan
from harness.prepare import resolve_auxiliary
from tests.tiny_stages import TRAIN, TinyNet, run, same, weights_of
from tests.unit.voc_tree import TRAIN as IDS
from tests.unit.voc_tree import make_voc


@MODELS.register_module()
class SalientNet(TinyNet):
    """Its loss weighs the saliency, so that another map gives other weights."""

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        losses = super().forward(inputs, data_samples, mode)
        saliency = torch.stack([sample.saliency.data for sample in data_samples])
        assert saliency.shape == (inputs.shape[0], 1, *inputs.shape[2:])
        return {"loss": losses["loss"] * (1 + saliency.mean())}


def write_maps(folder: Path, ids: Sequence[str], size: tuple[int, int] = (30, 40)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, image_id in enumerate(ids):
        Image.fromarray(np.full(size, 40 * number, np.uint8)).save(folder / f"{image_id}.png")
    return folder


@pytest.fixture
def voc(tmp_path: Path) -> VOC:
    return VOC(make_voc(tmp_path), tmp_path / "cache")


def check(voc: VOC, folder: Path, ids: Sequence[str] = IDS) -> str:
    return check_maps("saliency", folder, voc, ids, cache=folder.parent / "cache")


def test_gray_maps_are_read_however_they_are_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8)
    for mode in ("L", "RGB", "P"):
        Image.fromarray(values).convert(mode).save(tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(read_map(tmp_path / f"{mode}.png"), values)
    Image.fromarray(values > 127).save(tmp_path / "1.png")
    np.testing.assert_array_equal(read_map(tmp_path / "1.png"), np.where(values > 127, 255, 0))


def test_colours_and_other_depths_are_no_maps(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"a\.png holds RGB colours, not gray"):
        read_map(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.png holds I;16 colours, not gray"):
        read_map(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"there is no map .*c\.png: complete the folder"):
        read_map(tmp_path / "c.png")


def test_missing_maps_are_counted_with_where_to_get_them(voc: VOC, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", IDS[:1])
    what = rf"maps has no saliency map for 2 of 3 images \(the first is {IDS[1]}\.png\)"
    with pytest.raises(InputError, match=rf"{what}: complete it; EPS's authors link"):
        check(voc, folder)


def test_a_map_of_another_size_is_named(voc: VOC, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", IDS)
    write_maps(folder, IDS[2:], (30, 41))
    with pytest.raises(
        InputError, match=rf"saliency map .*{IDS[2]}\.png is 41 x 30 pixels but its image .* 40"
    ):
        check(voc, folder)


def test_the_hash_is_that_of_the_decoded_maps(voc: VOC, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", IDS)
    before = check(voc, folder)
    assert check(voc, folder, IDS[::-1]) == before
    assert check(voc, folder, IDS[:2]) != before
    other = write_maps(tmp_path / "others", IDS)
    for path in other.iterdir():
        Image.open(path).convert("RGB").save(path, compress_level=0)
    assert check(voc, other) == before
    write_maps(other, IDS[1:])
    assert check(voc, other) != before


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("saliency", "--aux saliency is not of the form NAME=DIR"),
        ("saliencies=.", r"does not use 'saliencies' \(did you mean 'saliency'\?\); it uses saliency"),
        ("saliency=nowhere", "there is no folder .*nowhere: name the one with the maps"),
    ],
)
def test_choices_that_fit_nothing(choice: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_folders([choice], ["saliency"])


def test_without_a_folder_the_user_is_told_where_maps_are(voc: VOC) -> None:
    expected = (
        r"trains with saliency maps, one \.png per image: pass their folder with --aux saliency=DIR; EPS's"
    )
    with pytest.raises(InputError, match=expected):
        stand_in("saliency", voc, IDS)


def test_the_stand_in_is_the_same_everywhere_and_made_once(tmp_path: Path) -> None:
    ids = ["train_000000", "train_000007", "val_000002"]
    one = make_saliency(ShapesSpec(), ids, cache=tmp_path / "one", workers=1)
    two = make_saliency(ShapesSpec(), ids[::-1], cache=tmp_path / "two", workers=2)
    for name in ids:
        saliency = read_map(one / f"{name}.png")
        np.testing.assert_array_equal(saliency, read_map(two / f"{name}.png"))
        np.testing.assert_array_equal(saliency, draw_saliency(0, picture_index(name)))
        assert saliency.shape == draw_scene(0, picture_index(name)).mask.shape
    made = {path: path.stat().st_mtime_ns for path in one.iterdir()}
    assert make_saliency(ShapesSpec(), [*ids, "train_000001"], cache=tmp_path / "one", workers=1) == one
    assert {path: path.stat().st_mtime_ns for path in one.iterdir()}.items() > made.items()


def test_the_stand_in_is_not_the_ground_truth(tmp_path: Path) -> None:
    found = hits = objects = missed = classes = 0
    for index in range(60):
        scene, salient = draw_scene(0, index), draw_saliency(0, index) >= 128
        inside = (scene.mask > 0) & (scene.mask < 255)
        hits, objects, found = hits + (salient & inside).sum(), objects + inside.sum(), found + salient.sum()
        for label in {each.label for each in scene.objects}:
            classes += 1
            missed += not salient[scene.mask == label + 1].any()
    assert 0.6 < hits / objects < 0.9
    assert 0.8 < hits / found < 0.97
    assert 0.05 < missed / classes < 0.3


def test_samples_carry_the_maps_of_their_image(voc: VOC, tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "maps", IDS)
    stream = TrainStream(
        voc,
        IDS,
        LongSideCrop((30, 60), 32),
        split="train",
        labels="image",
        auxiliary={"saliency": folder},
        batch_size=1,
        seed=0,
    )
    for position in range(6):
        sample = stream[position]
        saliency = sample["data_samples"].saliency.data
        assert saliency.shape == (1, 32, 32)
        assert saliency.dtype == torch.float32
        number = IDS.index(stream.image_id(position))
        inside = sample["inputs"].abs().sum(0) > 0
        assert torch.allclose(saliency[0][inside], torch.tensor(40 * number / 255))
    write_maps(folder, IDS, (4, 4))
    with pytest.raises(InputError, match=r"the saliency map .* is 4 x 4 pixels but its image"):
        stream[0]


def test_a_transform_that_cannot_move_maps_is_refused(voc: VOC, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="transform 'WholeImage' cannot move saliency maps"):
        TrainStream(
            voc,
            IDS,
            WholeImage(),
            split="train",
            labels="image",
            auxiliary={"saliency": tmp_path},
            batch_size=1,
            seed=0,
        )


def test_a_training_gets_its_maps(tmp_path: Path, shapes_root: Path) -> None:
    config = {**TRAIN, "auxiliary": ["saliency"], "model": {"type": "SalientNet"}}
    dataset = open_dataset("shapes", shapes_root)
    computed = make_saliency(ShapesSpec(), dataset.ids("train"), cache=tmp_path, workers=1)
    black = tmp_path / "black"
    black.mkdir()
    for path in computed.iterdir():
        Image.fromarray(np.zeros_like(read_map(path))).save(black / path.name)
    states = {}
    for name, folder in (("one", computed), ("again", computed), ("other", black)):
        run(tmp_path / name, shapes_root, config, auxiliary={"saliency": folder})
        states[name] = weights_of(tmp_path / name)
    assert same(states["one"], states["again"])
    assert not same(states["one"], states["other"])


def test_the_maps_of_a_config_are_those_of_the_images_it_trains_on(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    config = load_config(METHODS / "cam" / "shapes.py")
    dataset = open_dataset("shapes", shapes_root)
    ids = {split: dataset.ids(split)[:3] for split in ("train_aug", "train", "val")}
    assert resolve_auxiliary(config, dataset, ids, [], str) == {}
    with pytest.raises(InputError, match="the config does not use 'saliency'; it uses none"):
        resolve_auxiliary(config, dataset, ids, [f"saliency={tmp_path}"], str)
    salient = config.model_copy(
        update={
            "stages": {
                **config.stages,
                "cam": config.stages["cam"].model_copy(update={"auxiliary": ["saliency"]}),
            }
        }
    )
    found = resolve_auxiliary(salient, dataset, ids, [], str)["saliency"]
    assert sorted(path.stem for path in found.folder.iterdir()) == sorted(ids["train_aug"])

    def key(content: str) -> str:
        ingredients = Ingredients({}, {}, "", "", 0, auxiliary={"saliency": content})
        return make_plan(salient, ingredients, tmp_path)["cam"].key

    assert key(found.content) == key(found.content) != key("another")
