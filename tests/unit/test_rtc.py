"""RTC: its step against loops that follow the specification, its switches, its prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import TRANSFORMS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from benchmarks import looped_rtc
from harness.conversion import CONVERTERS
from harness.errors import InputError
from harness.metrics.sweep import Thresholds as Grid
from harness.metrics.sweep import count_levels, level_map
from methods import converters as _converters  # noqa: F401  registers them
from methods.modules.prototypes import BACKGROUND_PIXELS, Confident, normalised_cam, top_positions
from methods.rtc.compensator import class_relation, compensate, mean_of_largest, structure_loss
from methods.rtc.inference import GatedScores, GatedSegmentation, fused_scores, predicted
from methods.rtc.labels import balanced_cross_entropy
from methods.rtc.model import RTC

CLASSES, SIZE = 4, 64
NARROW = {"type": "ResNet38", "base_channels": 2}
GOLDEN = Path(__file__).parents[1] / "golden" / "rtc.json"


def network(**settings: Any) -> RTC:
    torch.manual_seed(0)
    chosen = {"view_size": 32, "embedding": 8, "segmentation": {"width": 8, "shallow": 4}, **settings}
    return RTC(CLASSES, NARROW, **chosen).eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images, where they are (not in the last quarter of the first), and labels that lack the last class."""
    generator = torch.Generator().manual_seed(1)
    image = F.interpolate(torch.randn(2, 3, 8, 8, generator=generator), size=(SIZE, SIZE), mode="bilinear")
    content = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    content[0, :, 3 * SIZE // 4 :] = False
    image[0, :, :, 3 * SIZE // 4 :] = 0
    return image, content, torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0]])


def test_contrast_and_compensation_are_those_of_loops_over_classes_and_pixels() -> None:
    model, (_, content, labels) = network(), batch()
    generator = torch.Generator().manual_seed(2)
    features = tuple(torch.rand(2, 8, 6, 6, generator=generator).requires_grad_() for _ in range(2))
    refined = tuple(torch.rand(2, CLASSES + 1, 6, 6, generator=generator) for _ in range(2))
    present = F.pad(labels, (1, 0), value=1.0)
    guidance = model.guide(refined, features, content, present)
    assert guidance.present.tolist() == [True, True, True, True, False]
    total = sum(model.contrasts(features, guidance).values())
    looped, compensated = looped_rtc.contrasts(
        features, guidance.cams, guidance.labels, guidance.present, model.temperature
    )
    torch.testing.assert_close(total, looped)
    everywhere = model.compensated(features, guidance, guidance.present.expand_as(present))
    where_asked = model.compensated(features, guidance, present)
    for view in (0, 1):
        torch.testing.assert_close(everywhere[view], compensated[view])
        torch.testing.assert_close(where_asked[view][present > 0], compensated[view][present > 0])
        assert torch.equal(where_asked[view][present == 0], guidance.cams[view][present == 0])
        torch.testing.assert_close(
            *(torch.autograd.grad(loss, features[view], retain_graph=True)[0] for loss in (total, looped))
        )


def test_the_structure_loss_needs_the_compensation_of_an_images_own_classes_only() -> None:
    generator = torch.Generator().manual_seed(0)
    cam, features = (torch.rand(2, channels, 4, 4, generator=generator) for channels in (5, 8))
    confident = Confident(torch.rand(5, 2, generator=generator), torch.rand(5, 2, 8, generator=generator))
    present = torch.tensor([[1.0, 1, 0, 0, 0], [1, 0, 1, 1, 0]])
    plain = torch.rand(2, 5, 4, 4, generator=generator) * present[..., None, None]
    own = present * torch.tensor([0.0, 1, 1, 1, 1])
    everywhere, where_needed, nowhere = (
        structure_loss(plain, compensate(cam, features, confident, chosen), present)
        for chosen in (torch.ones(2, 5), own, torch.zeros(2, 5))
    )
    torch.testing.assert_close(where_needed, everywhere)
    assert not torch.allclose(nowhere, everywhere)


def test_confident_pixels_are_the_first_of_a_stable_sort() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(-3, 4, (6, 500), generator=generator) / 3
    scores[0] = 0.2
    scores[1, ::3] = -0.0
    scores[2, ::2] = -torch.inf
    ordered = scores.sort(dim=1, descending=True, stable=True).indices
    assert torch.equal(top_positions(scores, 300), ordered[:, :300])


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ({"mask_padding": True}, {"contrast", "class_relation"}),
        ({"background_pixels": "label"}, {"contrast", "class_relation"}),
        ({"background_score": 0.9}, {"contrast"}),
        ({"temperature": 1.0}, {"contrast"}),
        ({"thresholds": {"low": 0.01, "high": 0.02}}, {"loss_seg"}),
        ({"seg_from": 1}, {"loss_seg"}),
    ],
)
def test_a_switch_changes_its_terms_only(setting: dict[str, Any], changed: set[str]) -> None:
    torch.manual_seed(5)
    released, other = (network(**chosen).loss(*batch()) for chosen in ({}, setting))
    contrasts = {"loss_intra", "loss_cross_label", "loss_cross_prototype"}
    names = {
        "contrast" if name in contrasts else name
        for name in released
        if name not in other or not torch.allclose(released[name], other[name])
    }
    # The padding of this batch moves the compensated CAMs, but hardly what is compared of them.
    assert changed <= names <= changed | ({"loss_struct"} if "mask_padding" in setting else set())


def test_the_pixels_of_the_background_are_the_first_the_labelled_ones_or_top_k() -> None:
    scores, labels = torch.full((12,), 0.2), torch.tensor([1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1])
    assert BACKGROUND_PIXELS["first"](scores, labels, 3).tolist() == [0, 1, 2]
    assert BACKGROUND_PIXELS["label"](scores, labels, 2).tolist() == [2, 6]
    assert BACKGROUND_PIXELS["label"](scores, torch.ones_like(labels), 2).tolist() == [0, 1]
    assert len(set(BACKGROUND_PIXELS["topk"](scores, labels, 3).tolist())) == 3


def test_padding_leaves_the_extremes_of_a_cam_where_it_is_masked() -> None:
    refined = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    refined[..., 3] = 7.0
    content = torch.ones(1, 4, 4, dtype=torch.bool)
    content[..., 3] = False
    plain, masked = normalised_cam(refined, 0.2), normalised_cam(refined, 0.2, content)
    alone = normalised_cam(refined[..., :3], 0.2)
    torch.testing.assert_close(masked[..., :3], alone)
    assert plain[0, 1, :, :3].max() < 0.2
    assert (normalised_cam(torch.zeros(1, 3, 4, 4), 0.2)[:, 1:] == -1).all()


def test_the_segmentation_branch_waits_for_its_iteration_and_a_checkpoint_remembers_it() -> None:
    model = network(seg_from=2)
    assert ["loss_seg" in model.loss(*batch()) for _ in range(3)] == [False, False, True]
    resumed = network(seg_from=4)
    resumed.load_state_dict(model.state_dict())
    assert ["loss_seg" in resumed.loss(*batch()) for _ in range(2)] == [False, True]


def test_the_loss_of_an_image_needs_all_of_its_classes_in_the_mask() -> None:
    logits = torch.randn(3, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(3, 4, 4, dtype=torch.long)
    masks[:2, 0] = 1
    masks[1, 1] = 255
    labels = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    losses = balanced_cross_entropy(logits, masks, labels)
    assert losses[2] == 0
    large = F.interpolate(logits, size=(4, 4), mode="bilinear", align_corners=True)
    for image, (ones, total) in enumerate([(4, 16), (4, 12)]):
        expected = 0.0
        for row in range(4):
            for column in range(4):
                label = int(masks[image, row, column])
                if label == 255:
                    continue
                count = ones if label == 1 else total - ones
                weight = (total - count) / (1 + total)
                expected -= weight * float(large[image, :, row, column].log_softmax(0)[label])
        assert float(losses[image]) == pytest.approx(expected / 16, rel=1e-5)


@pytest.mark.parametrize("part", [0.2, 0.8, 1.0])
def test_the_mean_of_the_largest_is_that_of_top_k(part: float) -> None:
    values = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found, plain = mean_of_largest(values, part), values.topk(int(50 * part), dim=1).values.mean()
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(*(torch.autograd.grad(x, values)[0] for x in (found, plain)))


def test_the_structure_loss_moves_the_best_class_of_a_pixel_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    cam = torch.rand(1, 5, 6, 6, generator=generator).requires_grad_()
    compensated = torch.rand(1, 5, 6, 6, generator=generator)
    (gradient,) = torch.autograd.grad(structure_loss(cam, compensated, torch.ones(1, 5), hardest=1.0), cam)
    assert not gradient[:, 0].any()
    assert torch.equal(gradient[:, 1:] != 0, cam[:, 1:] == cam[:, 1:].amax(1, keepdim=True))


def test_the_relation_of_classes_is_finite_for_one_class() -> None:
    table = F.normalize(torch.rand(5, 3, generator=torch.Generator().manual_seed(0)))
    only = torch.tensor([True, False, False, False, False])
    assert class_relation(table, table, only) == 0
    two = torch.tensor([True, True, False, False, False])
    assert float(class_relation(table, table, two)) == pytest.approx(
        float(-(1 - table[0] @ table[1]).log() / 2), rel=1e-5
    )


def test_class_scores_are_the_gates_of_the_prediction() -> None:
    model, image = network(), batch()[0]
    with torch.no_grad():
        torch.testing.assert_close(model.class_scores(image), model.segment(image)[0][:, 1:])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_channels_are_left_out_at_the_given_share(share: float) -> None:
    model = network(dropout=share).train()
    assert (model.view(batch()[0], segment=False).embedding.abs().sum() == 0) == (share == 1)


def test_gradients_of_the_refined_cam_stay_in_the_refinement() -> None:
    model = network()
    model.view(batch()[0], segment=False).refined.square().mean().backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert touched == {f"refinement.{name}.weight" for name in ("f8_3", "f8_4", "f8_5", "f9_1", "f9_2")}


def image_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_stored_classes_predict_what_all_classes_would() -> None:
    model, image = network(), image_of(41, 37)
    inference = GatedScores(scales=(1.0, 1.5))
    assert not inference.needs_labels
    with torch.no_grad():
        prepared = inference.prepare(image, None)
        everything = fused_scores(model, prepared[0], (41, 37), "cpu").numpy()
        scores = inference.infer(model, prepared, torch.device("cpu"))
    assert scores["high_res"].shape == (len(scores["keys"]), 41, 37)
    assert scores["cam"].shape == (len(scores["keys"]), 11, 10)
    truth = np.random.default_rng(1).integers(0, CLASSES + 1, (41, 37)).astype(np.uint8)
    grid = Grid([0.0, 0.05, 0.1, 0.2])
    of_stored, of_all = (
        count_levels(level_map(keys, maps, grid, CLASSES + 1), truth, CLASSES + 1)
        for keys, maps in (
            (scores["keys"], scores["high_res"]),
            (np.arange(CLASSES), everything),
        )
    )
    assert all(np.array_equal(a, b) for a, b in zip(vars_of(of_stored), vars_of(of_all), strict=True))


def vars_of(counts: Any) -> list[np.ndarray]:
    """The arrays of an `ImageCounts`."""
    return [np.asarray(getattr(counts, name)) for name in counts.__dataclass_fields__]


def test_masks_are_the_best_score_above_the_background_and_the_crf_smooths_them() -> None:
    model, image = network(), image_of(41, 37)
    plain, smooth = GatedSegmentation((1.0,), 0.08), GatedSegmentation((1.0,), 0.08, crf={"iterations": 2})
    with torch.no_grad():
        found = plain.predict(image, model, "cpu")
        scores = fused_scores(model, GatedScores((1.0,)).prepare(image, None)[0], (41, 37), "cpu")
    mask = plain(image, found)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, predicted(scores, 0.08).numpy())
    assert not predicted(scores, 2.0).any()
    refined = smooth(image, found)
    assert refined.shape == mask.shape
    assert refined.dtype == np.uint8
    with pytest.raises(InputError, match=r"crf.iteration is not a parameter"):
        GatedSegmentation(crf={"iteration": 1})


def test_a_crop_tells_where_the_image_is() -> None:
    crop = TRANSFORMS.build({"type": "BoxedLongSideCrop", "long_side": (40, 56), "crop": 48})
    for seed in range(4):
        square, _, maps = crop.raw(image_of(30, 50), None, {}, np.random.default_rng(seed))
        content = maps["content"]
        assert content.shape == (1, 48, 48)
        assert content.sum() == content[0, square.rows, square.columns].size
        assert content[0, square.rows, square.columns].all()


def test_a_batch_of_data_samples_trains_the_model() -> None:
    image, content, labels = batch()
    samples = []
    for shown, has in zip(content, labels, strict=True):
        sample = SegDataSample()
        sample.set_data({"image_labels": has})
        sample.set_field(PixelData(data=shown[None].to(torch.uint8)), "content")
        samples.append(sample)
    given, direct = network()(image, samples, mode="loss"), network().loss(image, content, labels)
    assert {name: float(value.detach()) for name, value in given.items()} == {
        name: float(value.detach()) for name, value in direct.items()
    }
    with pytest.raises(ValueError, match="needs data samples"):
        network()(image, mode="loss")


@pytest.mark.parametrize(
    ("layout", "case"), [("rtc", "rtc.network.features"), ("ppc", "ppc.network.forward")]
)
def test_a_released_file_is_accounted_for(layout: str, case: str) -> None:
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    shapes = next(found["state"] for found in cases if found["name"] == case)
    theirs = {f"module.{name}": torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    convert = CONVERTERS[layout]
    conversion = convert(theirs)
    assert conversion.complete
    assert set(conversion.dropped) == {
        n for n in shapes if layout == "rtc" and n.startswith(("fc8.", "_aff"))
    }
    assert convert({**theirs, "head.bias": torch.zeros(1)}).unmapped == ["head.bias"]
    lost = {name: tensor for name, tensor in theirs.items() if "f8_4" not in name}
    assert len(convert(lost).missing) == 1
    with pytest.raises(InputError, match=r"'f8_4.weight' of the checkpoint has shape \(2, 2\)"):
        convert({**theirs, "module.f8_4.weight": torch.zeros(2, 2)})
