"""WeakTr's second stage and its augmentation: clipped loss, windows, reproducible draws."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

from harness.data import mm_pipeline as _mm_pipeline  # noqa: F401  registers it
from harness.data.pixels import normalise
from harness.ops.cam import cam_scores
from methods.modules.cam_label_crf import CAMLabelCRF
from methods.weaktr.segmenter import Segmenter, clip_loss
from methods.weaktr.sliding_window import SlidingWindowSegmentation, window_logits, window_starts
from methods.weaktr.transforms import AugmentedCrop, erase

SMALL = dict(num_tokens=1, image_size=32, patch_size=8, width=16, depth=1, heads=2, drop_path=0.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def segmenter(**settings) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(4, dict(SMALL), **settings)


def test_pixels_above_the_limit_of_their_patch_give_no_gradient():
    loss = torch.tensor([[[1.0, 3.0, 0.5, 0.5], [1.0, 1.0, 0.5, 0.7]]], requires_grad=True)
    clipped = clip_loss(loss, start=5, patch=2)
    clipped.sum().backward()
    # The left patch has a mean of 1.5; the right one's 0.55 is raised to the mean of all, 1.025.
    assert clipped[0, 0].tolist() == [1, 1.5, 0.5, 0.5]
    assert loss.grad is not None
    assert loss.grad[0].tolist() == [[1, 0, 1, 1], [1, 1, 1, 1]]


def test_nothing_is_clipped_while_the_mean_is_above_the_start():
    loss = torch.tensor([[[1.0, 30.0]]])
    assert clip_loss(loss, start=1.2, patch=1) is loss


def test_crops_that_are_no_multiple_of_the_patch_have_smaller_patches_at_the_end():
    loss = torch.rand(2, 7, 5)
    assert clip_loss(loss, start=9, patch=3).shape == (2, 7, 5)


def test_the_segmenters_clipping_is_switched():
    inputs = torch.randn(2, 3, 32, 32)
    labels = torch.randint(0, 4, (1, 32, 32))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in range(2)]
    losses = {
        start: float(
            segmenter(clip_start=start, clip_patch=8).eval()(inputs, samples, mode="loss")["loss_seg"]
        )
        for start in (None, 0.0, 99.0)
    }
    assert losses[None] == losses[0.0]
    assert losses[99.0] < losses[None]


def test_void_pixels_give_no_gradient():
    model, inputs = segmenter(), torch.randn(1, 3, 32, 32)
    void = SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 32, 32), 255)))
    assert model(inputs, [void], mode="loss")["loss_seg"] == 0


def test_logits_have_the_size_of_the_image_whatever_it_is():
    assert segmenter()(torch.randn(2, 3, 37, 50)).shape == (2, 4, 37, 50)


@pytest.mark.parametrize(
    ("length", "starts"), [(480, [0]), (300, [0]), (481, [0, 1]), (800, [0, 320]), (801, [0, 320, 321])]
)
def test_windows_cover_a_side_and_end_with_it(length, starts):
    assert window_starts(length, 480, 320) == starts


class Identity(torch.nn.Module):
    def forward(self, inputs, mode):
        return inputs


def test_windows_of_a_network_that_sees_single_pixels_add_up_to_the_image():
    images = torch.randn(2, 3, 50, 70)
    torch.testing.assert_close(window_logits(Identity(), images, 32, 20), images)


def test_mirrors_of_a_symmetric_network_change_nothing():
    plain, both = (
        SlidingWindowSegmentation(short_side=None, flip=flip, window=32, stride=20) for flip in (False, True)
    )
    label = plain.predict(IMAGE, Identity(), "cpu")["label"]
    assert (label == normalise(IMAGE).argmax(0)).all()
    assert (both.predict(IMAGE, Identity(), "cpu")["label"] == label).all()


def test_the_segmentations_crf_is_switched():
    refiner = SlidingWindowSegmentation(short_side=48, scales=(1.0, 0.5), window=32, stride=20, crf={})
    scores = refiner.predict(IMAGE, Identity(), "cpu")
    np.testing.assert_allclose(scores["probability"].sum(0), 1, rtol=1e-5)
    assert refiner(IMAGE, scores).shape == IMAGE.shape[:2]


def test_a_pseudo_mask_is_the_threshold_smoothed_by_the_crf():
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 255
    maps = np.zeros((1, 20, 30), np.float32)
    maps[:, :, 15:] = 0.9
    maps[:, 5, 20] = 0.0  # a hole, which the CRF closes
    mask = CAMLabelCRF(background=0.43)(image, {"keys": np.array([6]), "high_res": maps})
    assert (mask[:, 15:] == 7).all()
    assert not mask[:, :15].any()


def test_a_pseudo_mask_without_classes_is_background():
    scores = {"keys": np.zeros(0, np.int64), "high_res": np.zeros((0, 60, 90), np.float32)}
    assert not CAMLabelCRF(background=0.43)(IMAGE, scores).any()


def test_the_plain_range_reaches_from_0_to_1():
    maps = torch.rand(1, 2, 4, 5) * 3 + 1
    (scores,) = cam_scores([maps], torch.ones(1, 2), (16, 20), "direct", "range")
    assert scores.high_res.amin((1, 2)).tolist() == [0, 0]
    torch.testing.assert_close(scores.high_res.amax((1, 2)), torch.ones(2))


def test_an_augmented_sample_depends_on_its_generator_alone():
    transform = AugmentedCrop(crop=32, erasing=0.5)
    samples = [transform(IMAGE, None, np.random.default_rng(seed))[0] for seed in range(8)]
    random.seed(7)
    np.random.seed(7)
    again = [transform(IMAGE, None, np.random.default_rng(seed))[0] for seed in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(samples, again, strict=True))
    assert len({sample.tobytes() for sample in samples}) == 8


def test_augmenting_leaves_global_random_states_alone():
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    AugmentedCrop(crop=32)(IMAGE, None, np.random.default_rng(0))
    assert (random.random(), np.random.random()) == expected


def test_without_policy_and_erasing_an_augmented_crop_is_a_random_resized_crop():
    plain = TRANSFORMS.build({"type": "RandomResizedCrop", "crop": 32})
    ours = AugmentedCrop(crop=32, rand_augment=None, erasing=0.0)
    for seed in range(3):
        expected, _ = plain(IMAGE, None, np.random.default_rng(seed))
        sample, _ = ours(IMAGE, None, np.random.default_rng(seed))
        np.testing.assert_array_equal(sample, expected)


def test_the_policy_has_the_published_operations_and_strength():
    policy = AugmentedCrop().augment
    assert (len(policy.ops), policy.num_layers) == (15, 2)
    assert {(op.prob, op.magnitude, op.magnitude_std) for op in policy.ops} == {(0.5, 9, 0.5)}


def test_an_augmented_crop_refuses_a_mask():
    with pytest.raises(ValueError, match="cannot move a mask"):
        AugmentedCrop(crop=32)(IMAGE, np.zeros(IMAGE.shape[:2], np.uint8), np.random.default_rng(0))


def test_erasing_puts_noise_into_one_rectangle_of_the_published_size():
    areas = []
    for seed in range(50):
        sample = np.full((3, 40, 60), 9.0, np.float32)
        erase(sample, np.random.default_rng(seed))
        changed = (sample != 9).all(0)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        areas.append(changed.mean())
    assert min(areas) > 0.015
    assert max(areas) < 0.36


def test_the_segmenters_crops_are_padded_with_void_and_the_mean_colour():
    transform = TRANSFORMS.build(
        {
            "type": "MMPipeline",
            "transforms": [
                {"type": "RandomResize", "scale": [90, 60], "ratio_range": [0.5, 0.5], "keep_ratio": True},
                {"type": "RandomCrop", "crop_size": [48, 48], "cat_max_ratio": 0.75},
                {"type": "Pad", "size": [48, 48], "pad_val": {"img": [104, 116, 124], "seg": 255}},
            ],
        }
    )
    sample, label = transform(IMAGE, np.ones(IMAGE.shape[:2], np.uint8), np.random.default_rng(0))
    assert sample.shape == (3, 48, 48)
    assert label is not None
    assert (label[30:] == 255).all()
    assert np.abs(sample[:, 30:]).max() < 0.02
