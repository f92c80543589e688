"""Pipelines of mmcv's and mmsegmentation's transforms: reproducible, image and label together."""

from __future__ import annotations

import random

import numpy as np
import pytest
from mmseg.registry import TRANSFORMS

from harness.data.mm_pipeline import MMPipeline
from harness.data.pixels import normalise, subtract_caffe_mean

STEPS = [
    {"type": "RandomResize", "scale": (90, 60), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    {"type": "RandomCrop", "crop_size": (40, 40)},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "Pad", "size": (40, 40), "pad_val": {"img": 0, "seg": 255}},
]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_without_a_step_it_is_the_network_s_input(image: np.ndarray) -> None:
    label = np.zeros((60, 90), np.uint8)
    for pixels, to_float in (("imagenet", normalise), ("caffe", subtract_caffe_mean)):
        sample, same = MMPipeline([], pixels)(image, label, np.random.default_rng(0))
        np.testing.assert_array_equal(sample, to_float(image))
        assert same is label


def test_a_sample_is_a_function_of_the_generator_and_touches_no_global_state(image: np.ndarray) -> None:
    steps = [*STEPS, {"type": "PhotoMetricDistortion"}]
    pipeline = TRANSFORMS.build({"type": "MMPipeline", "transforms": steps})
    label = np.random.default_rng(1).integers(0, 21, (60, 90), dtype=np.uint8)

    def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
        # Whatever was drawn before, and what is drawn afterwards is what it would have been.
        np.random.seed(seed + 7)
        random.seed(seed + 7)
        found = pipeline(image, label, np.random.default_rng(seed))
        drawn = np.random.random(), random.random()
        np.random.seed(seed + 7)
        random.seed(seed + 7)
        assert drawn == (np.random.random(), random.random())
        return found

    first, again, other = sample(0), pipeline(image, label, np.random.default_rng(0)), sample(1)
    assert first[0].shape == (3, 40, 40)
    assert first[0].dtype == np.float32
    assert first[1].shape == (40, 40)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_image_and_label_move_together() -> None:
    label = np.tile(np.arange(90, dtype=np.uint8), (60, 1))
    image = np.repeat(label[..., None], 3, axis=2)
    steps = [{"type": "RandomCrop", "crop_size": (40, 40)}, {"type": "RandomFlip", "prob": 0.5}]
    for seed in range(6):
        sample, cut = MMPipeline(steps)(image, label, np.random.default_rng(seed))
        np.testing.assert_array_equal(sample, normalise(np.repeat(cut[..., None], 3, axis=2)))
    sample, cut = MMPipeline(steps)(image, None, np.random.default_rng(0))
    assert cut is None
    assert sample.shape == (3, 40, 40)
