"""AffinityNet: soft masks of two CRFs, labels of them, the crop that moves them, random walk and stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness.artifact import Artifact
from harness.config import find_config, load_config
from harness.errors import InputError
from harness.npz import read_npz
from harness.ops.affinity import search_geometry
from harness.ops.crf import CRFParameters, crf_from_labels
from harness.ops.crf_refiner import ALPHA_CRF
from harness.plan import order_stages
from methods.modules.affinity_crop import AffinityCrop, affinity_label, average_pool
from methods.modules.affinity_refiners import AffinityCRF, AffinityRandomWalk, walked_scores
from methods.modules.affinitynet import AffinityNet, convert_authors, pair_affinity
from tests.tiny_stages import CAMS, TRAIN, run

NARROW: dict[str, Any] = {"type": "ResNet38", "base_channels": 4, "norm": "batch", "frozen_stages": 0}
SOFT: dict[str, Any] = {
    "type": "refine",
    "split": "train",
    "scores": "cam_scores",
    "output": "soft_masks",
    "refiner": {"type": "AffinityCRF", "low": 2, "high": 8, "crf": {"iterations": 1}},
}


def test_affinities_have_the_gradient_of_the_plain_formula() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 7, 12, dtype=torch.float64, requires_grad=True)
    geometry = search_geometry(4)
    source = geometry.window(features, (0, 0))
    plain = torch.stack(
        [(geometry.window(features, o) - source).abs().mean(1).neg().exp() for o in geometry.destinations], 1
    )
    weights = torch.randn_like(plain)
    (expected,) = torch.autograd.grad((plain * weights).sum(), features)
    ours = pair_affinity(features, 4)
    torch.testing.assert_close(ours, plain)
    (found,) = torch.autograd.grad((ours * weights).sum(), features)
    torch.testing.assert_close(found, expected)


def test_labels_are_set_where_both_crfs_agree() -> None:
    # Foreground in both, only in the one with little background, in none; outside; class 7 in both.
    low = np.array([[0.1, 0.9, 0.9, 0, 0.2], [0.9, 0.1, 0.1, 0, 0.1], [0, 0, 0, 0, 0.7]], np.float32)
    high = np.array([[0.1, 0.2, 0.9, 0, 0.1], [0.9, 0.8, 0.1, 0, 0.1], [0, 0, 0, 0, 0.8]], np.float32)
    found = affinity_label(low[:, None], high[:, None], np.array([3, 7]))
    assert found.tolist() == [[4, 255, 0, 255, 8]]


def test_the_crop_moves_soft_masks_with_the_image_and_pads_with_black() -> None:
    image = np.full((40, 24, 3), 200, np.uint8)
    masks = np.zeros((2, 40, 24), np.float16)
    masks[1, :, :12], masks[0, :, 12:] = 1, 1  # foreground on the left
    label: Any = {"keys": np.array([2]), "low": masks, "high": masks}
    transform = AffinityCrop(crop=32)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        geometry = transform.geometry((40, 24), np.random.default_rng(seed))
        sample, cells, _ = transform.with_maps(image, label, {}, rng)
        assert sample.shape == (3, 32, 32)
        assert cells is not None
        assert cells.shape == (4, 4)
        black = sample.min(axis=(1, 2))
        assert (black < -1.7).all()  # black, where the mean colour is 0
        left, right = (3, 0) if geometry.flip else (0, 3)
        inside = slice(geometry.offsets.horizontal, geometry.offsets.horizontal + 24)
        expected = np.zeros((2, 32, 32), np.float16)
        expected[:, :, inside] = (masks[..., ::-1] if geometry.flip else masks)[:, :32]
        pooled = average_pool(expected)
        np.testing.assert_array_equal(cells, affinity_label(pooled, pooled, np.array([2])))
        assert set(np.unique(cells[:, [left, right]])) <= {0, 3, 255}


def test_a_crop_that_the_stride_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        AffinityCrop(crop=100)


def a_scene() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A picture (40, 80) whose right half is another colour, and a CAM that found a part of it."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 20, (40, 80, 3))
    image[:, 40:] += 180
    maps = np.full((1, 40, 80), 0.05, np.float32)
    maps[0, 4:36, 46:76] = 0.8
    return image.astype(np.uint8), {"keys": np.array([4]), "high_res": maps}


@pytest.mark.parametrize("unary", ["scores", "labels"])
def test_a_lower_alpha_has_more_background(unary: Any) -> None:
    image, scores = a_scene()
    scores["high_res"] *= 0.4
    soft = AffinityCRF(low=1, high=24, unary=unary)(image, scores)
    assert soft["low"].dtype == np.float16
    assert soft["low"].shape == (2, 40, 80)
    assert (soft["low"].argmax(0) == 0).sum() > (soft["high"].argmax(0) == 0).sum()


def test_the_crf_on_labels_knows_all_classes_and_takes_rows_first() -> None:
    image, scores = a_scene()
    soft = AffinityCRF(low=4, unary="labels", num_classes=11)(image, scores)
    label = np.where(scores["high_res"][0] > (1 - scores["high_res"][0]) ** 4, 5, 0)
    parameters = ALPHA_CRF.updated({"iterations": 10, "rows_first": True})
    _, marginals = crf_from_labels(image, label, 11, 0.7, parameters)
    np.testing.assert_allclose(soft["low"], marginals[[0, 5]], atol=1e-3)


def test_the_order_of_positions_changes_a_crf_a_little() -> None:
    image, scores = a_scene()
    label = (scores["high_res"][0] > 0.5).astype(np.int64)
    marginals = [
        crf_from_labels(image, label, 2, 0.7, CRFParameters(3, 3, 3, 80, 13, 10, rows_first=rows_first))[1]
        for rows_first in (False, True)
    ]
    assert 0 < np.abs(marginals[0] - marginals[1]).mean() < 0.05


def test_an_image_without_classes_is_background() -> None:
    image, scores = a_scene()
    empty = {"keys": np.zeros(0, np.int64), "high_res": scores["high_res"][:0]}
    soft = AffinityCRF()(image, empty)
    assert affinity_label(soft["low"], soft["high"], empty["keys"]).tolist() == np.zeros((40, 80)).tolist()
    mask = AffinityRandomWalk()(image, empty, AffinityNet(21, NARROW), "cpu")
    assert mask.shape == (40, 80)
    assert not mask.any()


class Colours(AffinityNet):
    """Features are the pooled colours, so that the walk stays within a colour."""

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        return 5 * F.avg_pool2d(inputs, 8)


@pytest.mark.parametrize("size", [(40, 80), (37, 75)])
def test_the_walk_fills_the_object_that_the_cam_has_found_a_part_of(size: tuple[int, int]) -> None:
    image, scores = a_scene()
    image = image[: size[0], : size[1]]
    scores = {"keys": scores["keys"], "high_res": scores["high_res"][:, : size[0], : size[1]]}
    net = Colours(21, NARROW).eval()
    mask = AffinityRandomWalk(alpha=4)(image, scores, net, "cpu")
    assert mask.shape == size
    assert set(np.unique(mask)) == {0, 5}
    walked, seed = (mask == 5)[:, 44:].mean(), (scores["high_res"][0, :, 44:] > 0.5).mean()
    assert walked > seed
    assert not (mask[:, :36] == 5).any()


def test_the_background_of_the_walk_is_a_power_or_a_constant() -> None:
    maps = a_scene()[1]["high_res"]
    np.testing.assert_allclose(AffinityRandomWalk(alpha=6).with_background(maps)[0], (1 - maps[0]) ** 6)
    np.testing.assert_array_equal(
        AffinityRandomWalk(background=0.27).with_background(maps)[0], np.float32(0.27)
    )


def test_a_map_too_small_for_any_pair_keeps_its_scores() -> None:
    scores = torch.rand(3, 4, 8)
    assert walked_scores(torch.rand(5, 4, 8), scores) is scores


def test_a_released_checkpoint_loads_and_what_does_not_belong_is_named() -> None:
    with torch.device("meta"):
        state = AffinityNet(21, {"type": "ResNet38"}).state_dict()
    theirs = {f"module.{name.removeprefix('backbone.')}": tensor for name, tensor in state.items()}
    assert convert_authors(theirs).complete
    del theirs["module.f9.weight"]
    theirs["module.fc8.weight"] = torch.empty(21, 4096, 1, 1)
    conversion = convert_authors(theirs)
    assert conversion.missing == ["f9.weight"]
    assert conversion.unmapped == ["fc8.weight"]


def soft_stages(folder: Path, root: Path) -> None:
    """CAMs of a tiny network and the soft masks of two CRFs on them, as stages."""
    run(folder / "cam", root, TRAIN)
    run(folder / "cam_scores", root, CAMS, inputs={"checkpoint": folder / "cam"})
    run(folder / "cam_crf", root, SOFT, inputs={"scores": folder / "cam_scores"})


def test_the_stages_pass_soft_masks_on(tmp_path: Path, shapes_root: Path) -> None:
    soft_stages(tmp_path, shapes_root)
    manifest = Artifact(tmp_path / "cam_crf").manifest
    assert manifest.kind == "soft_masks"
    arrays = read_npz(tmp_path / "cam_crf/files" / next(iter(manifest.files)))
    assert arrays["low"].shape == arrays["high"].shape
    assert len(arrays["low"]) == len(arrays["keys"]) + 1
    training = {
        **TRAIN,
        "labels": "cam_crf",
        "model": {"type": "AffinityNet", "num_classes": 11, "backbone": NARROW},
        "transform": {"type": "AffinityCrop", "crop": 96},
        "train_cfg": {"max_iters": 1},
    }
    report = run(tmp_path / "affinity", shapes_root, training, inputs={"labels": tmp_path / "cam_crf"})
    assert report.images == 2
    config = {**training, "transform": TRAIN["transform"]}
    with pytest.raises(InputError, match=r"LongSideCrop.*label of masks"):
        run(tmp_path / "wrong", shapes_root, config, inputs={"labels": tmp_path / "cam_crf"})
    config = {name: value for name, value in SOFT.items() if name != "output"}
    with pytest.raises(InputError, match="AffinityCRF makes soft_masks, not masks"):
        run(tmp_path / "hard", shapes_root, config, inputs={"scores": tmp_path / "cam_scores"})


def test_soft_masks_are_for_trainings_only() -> None:
    config = load_config(find_config("seam", "voc"))
    assert order_stages(config).index("cam_crf") < order_stages(config).index("affinity")
    stages = dict(config.stages)
    stages["pseudo_eval"] = stages["pseudo_eval"].model_copy(update={"masks": "cam_crf"})
    with pytest.raises(InputError, match="needs masks, but stage 'cam_crf' makes soft_masks"):
        order_stages(config.model_copy(update={"stages": stages}))
