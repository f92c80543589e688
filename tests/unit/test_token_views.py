"""The views, class maps and fused masks of ToCo and MCC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from harness.data.shapes import Shapes
from harness.data.stream import TrainStream
from harness.registry import INFERENCES, REFINERS
from methods.toco.cams import multi_scale_maps
from methods.toco.fused_segmentation import fused_logits
from methods.toco.network import gather
from methods.toco.views import ContrastViews, Photometric, stepwise
from tests.unit.test_toco import CLASSES, network

CROP = 32
DEVICE = torch.device("cpu")


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Left half dark, right half bright, so that a mirror shows."""
    image = np.random.default_rng(0).integers(1, 60, (height, width, 3), dtype=np.uint8)
    image[:, width // 2 :] += 180
    return image


def views(seed: int = 0, image: np.ndarray | None = None, **settings: Any) -> dict[str, np.ndarray]:
    transform = TRANSFORMS.build({"type": "ContrastViews", "crop": CROP, **settings})
    rng = np.random.default_rng(seed)
    square, _, extra = transform.raw(picture() if image is None else image, None, {}, rng)
    return {"crop": square.pixels, **extra}


def test_the_same_generator_gives_the_same_views() -> None:
    first, again, other = views(0), views(0), views(1)
    assert {name: view.shape for name, view in first.items()} == {
        "crop": (CROP, CROP, 3),
        "second_view": (3, CROP, CROP),
        "local_view": (3, CROP, CROP),
        "content": (1, CROP, CROP),
    }
    for name, view in first.items():
        assert np.array_equal(view, again[name])
        assert not np.array_equal(view, other[name]) or name == "content"


def test_colours_and_sharpness_can_be_kept() -> None:
    """Every crop is blurred and a fifth of the views is grey, but for small pictures whose colours count."""
    colourful = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    released = [views(seed, colourful) for seed in range(40)]
    kept = [views(seed, colourful, greyed=0.0, radius=(0.01, 0.02)) for seed in range(40)]

    def grey(view: np.ndarray) -> bool:
        return bool((view.max(0) == view.min(0)).all())

    assert any(grey(view["second_view"]) for view in released)
    assert not any(grey(view["second_view"]) for view in kept)
    assert roughness(kept) > 1.5 * roughness(released)


def roughness(samples: list[dict[str, np.ndarray]]) -> float:
    """Mean difference of neighbouring pixels of the crops."""
    return float(
        np.mean([np.abs(np.diff(sample["crop"].astype(float), axis=1)).mean() for sample in samples])
    )


def right_is_brighter(view: np.ndarray) -> bool:
    half = CROP // 2
    return float(view[..., half:].mean()) > float(view[..., :half].mean())


def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Photometric, "__call__", lambda self, image, rng: image)


@pytest.mark.parametrize("aligned", [False, True])
def test_the_local_view_is_mirrored_with_the_crop_or_by_itself(
    monkeypatch: pytest.MonkeyPatch, aligned: bool
) -> None:
    unchanged(monkeypatch)
    settings = {"scale": (0.5, 0.5), "align_local_flip": aligned}
    drawn = [views(seed, **settings) for seed in range(12)]
    agree = [np.array_equal(v["crop"].transpose(2, 0, 1), v["local_view"]) for v in drawn]
    mirrored = [np.array_equal(v["crop"][:, ::-1].transpose(2, 0, 1), v["local_view"]) for v in drawn]
    assert all(agree) if aligned else any(agree) and any(mirrored)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_content_is_where_the_picture_is_only_if_it_is_mirrored_with_it(
    monkeypatch: pytest.MonkeyPatch, mirrored: bool
) -> None:
    unchanged(monkeypatch)
    drawn = [views(seed, picture(20, 20), scale=(0.75, 0.75), flip_box=mirrored) for seed in range(12)]
    right = [np.array_equal(v["crop"].any(2), v["content"][0] > 0) for v in drawn]
    assert all(right) if mirrored else not all(right)
    assert all(int(v["content"].sum()) == 15 * 15 for v in drawn)


def test_a_stream_hands_the_views_to_the_network(shapes_root: Path) -> None:
    shapes = Shapes.open(shapes_root)
    stream = TrainStream(
        shapes, shapes.ids("train"), ContrastViews(CROP), split="train", labels="image", batch_size=2, seed=0
    )
    samples = [stream[0], stream[1]]
    inputs = torch.stack([sample["inputs"] for sample in samples])
    batch = gather(inputs, [sample["data_samples"] for sample in samples])
    assert batch.second.shape == batch.local.shape == inputs.shape == (2, 3, CROP, CROP)
    assert batch.content.shape == (2, CROP, CROP)
    assert batch.content.dtype == torch.bool
    assert batch.labels.shape == (2, 10)
    second = samples[0]["data_samples"].second_view.data.permute(1, 2, 0).numpy()
    assert np.array_equal(batch.second[0].numpy(), stepwise(second))


def test_class_maps_of_absent_classes_are_zero_and_those_of_others_as_ever() -> None:
    model, image = network().eval(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    everything = model.class_maps(image)
    known = model.raw_maps(model.backbone(image))
    for found in (model.class_maps(image, labels), model.class_maps(image, labels, known)):
        torch.testing.assert_close(found, everything * labels[..., None, None])


def test_mirror_images_count_by_the_larger_value_and_scales_by_their_sum() -> None:
    def raw_maps(images: Tensor) -> Tensor:
        return images[None, :, :1]

    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 0, 0], image[0, 0, 1, 3] = 1.0, -5.0
    found = multi_scale_maps(raw_maps, image, (1.0,))
    expected = torch.zeros(4, 4)
    expected[0, 0] = 1  # the mirror image says the same in its place; what is negative counts as 0
    torch.testing.assert_close(found[0, 0, 0], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["cam", "aux_cam"])
def test_one_pass_gives_the_maps_that_single_inferences_give(name: str) -> None:
    model, labels = network().eval(), np.array([1, 0, 1], np.float32)
    inference = INFERENCES.build({"type": "SquareMaps", "size": 64, "map": name})
    prepared = inference.prepare(picture(), labels)
    both, alone = inference.maps(model, prepared, DEVICE), inference.infer(model, prepared, DEVICE)
    assert set(both) == {"cam", "aux_cam"}
    for key, shape in {"keys": (2,), "cam": (2, 10, 15), "high_res": (2, 40, 60)}.items():
        assert alone[key].shape == shape
        assert np.array_equal(alone[key], both[name][key])
    assert not np.array_equal(both["cam"]["high_res"], both["aux_cam"]["high_res"])


def test_an_image_without_classes_needs_no_network() -> None:
    inference = INFERENCES.build({"type": "SquareMaps", "size": 64})
    prepared = inference.prepare(picture(), np.zeros(3, np.float32))
    found = inference.infer(torch.nn.Identity(), prepared, DEVICE)
    assert (found["keys"].shape, found["high_res"].shape) == ((0,), (0, 40, 60))


def test_logits_of_the_square_keep_the_images_size() -> None:
    model, inference = network().eval(), INFERENCES.build({"type": "SquareLogits", "size": 64})
    with torch.inference_mode():
        found = inference.infer(model, inference.prepare(picture(), None), DEVICE)
    assert found["logits"].shape == (CLASSES + 1, 8, 8)
    assert found["size"].tolist() == [40, 60]


def test_flips_and_scales_are_joined_by_their_rules() -> None:
    def logits(images: Tensor) -> Tensor:
        """Brightness and its negative; larger images are brighter."""
        mean = images.mean(1, keepdim=True) + images.shape[-1] / 8
        return torch.cat([mean, -mean], dim=1)

    image = torch.zeros(1, 3, 8, 8)
    image[..., 0] = 3.0
    size = (8, 8)
    voc = fused_logits(logits, image, size, (1.0, 2.0), "sum", "max")
    coco = fused_logits(logits, image, size, (1.0, 2.0), "max", "sum")
    # In the middle the values are 1 and 2 by scale, -1 and -2 for the second class.
    assert voc[:, 4, 4].tolist() == [4.0, -2.0]
    assert coco[:, 4, 4].tolist() == [3.0, -3.0]


def test_masks_are_of_the_images_size_with_and_without_a_crf() -> None:
    model = network().eval()
    for crf, key in ((None, "label"), ({"iterations": 1}, "probability")):
        refiner = REFINERS.build({"type": "FusedSegmentation", "scales": (1.0, 1.5), "crf": crf})
        assert refiner.kind == "stream"
        with torch.inference_mode():
            scores = refiner.predict(picture(), model, DEVICE)
        assert set(scores) == {key}
        mask = refiner(picture(), scores)
        assert mask.shape == (40, 60)
        assert mask.dtype == np.uint8
        assert mask.max() <= CLASSES
