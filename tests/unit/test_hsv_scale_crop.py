"""The augmentation of the second stage: labels follow the image, and nothing is where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.geometry import Offsets
from harness.data.pixels import normalise
from methods.modules.hsv_scale_crop import HSVScaleCrop, hsv_scale_crop, shift_hsv

IGNORE = 255


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of large gray patches and a label that tells the patch by its brightness."""
    label = np.random.default_rng(0).integers(0, 4, (height // 10, width // 10)).astype(np.uint8)
    label = label.repeat(10, 0).repeat(10, 1)
    return np.stack([label * 60] * 3, axis=-1), label


@pytest.mark.parametrize("size", [(40, 60), (100, 80)])
def test_the_label_follows_the_image(size: tuple[int, int]) -> None:
    image, label = picture(*size)
    transform = HSVScaleCrop(scale=(1.0, 1.0), crop=64, shift=0)  # no filter between patches
    of_level = [float(normalise(np.full((1, 1, 3), 60 * n, np.uint8))[0, 0, 0]) for n in range(4)]
    for seed in range(8):
        sample, mask = transform(image, label, np.random.default_rng(seed))
        inside = mask != IGNORE
        assert inside.sum() == min(size[0], 64) * min(size[1], 64)
        np.testing.assert_allclose(sample[0][inside], np.array(of_level)[mask[inside]], atol=1e-6)
        assert (sample[:, ~inside] == 0).all()


def test_a_scaled_picture_keeps_image_and_label_together() -> None:
    image, label = picture(80, 120)
    transform = HSVScaleCrop(scale=(0.5, 1.5), crop=96, shift=0)
    for seed in range(8):
        sample, mask = transform(image, label, np.random.default_rng(seed))
        assert sample.shape == (3, 96, 96)
        level = (sample[0] * 0.229 + 0.485) * 255 / 60
        inside = mask != IGNORE
        # At the borders of patches the bicubic filter is between the two, and overshoots.
        agreement = (np.round(level[inside]) == mask[inside]).mean()
        assert agreement > 0.85


def test_a_mirror_and_offsets_are_those_asked_for() -> None:
    _, label = picture(40, 60)
    geometry = hsv_scale_crop(
        label.shape, shifts=(0, 0, 0), flip=True, scale=1.0, offsets=Offsets(3, 5), crop=64
    )
    expected = np.full((64, 64), IGNORE, np.uint8)
    expected[5:45, 3:63] = label[:, ::-1]
    np.testing.assert_array_equal(geometry.label(label), expected)
    cut = hsv_scale_crop(label.shape, shifts=(0, 0, 0), flip=False, scale=1.0, offsets=Offsets(3, 5), crop=32)
    np.testing.assert_array_equal(cut.label(label), label[5:37, 3:35])


def test_one_generator_makes_one_sample_and_colours_vary() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    label = rng.integers(0, 4, (50, 70), dtype=np.uint8)
    transform = HSVScaleCrop(crop=48)
    one, again, other = (transform(image, label, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_hue_goes_around_and_the_others_are_cut() -> None:
    image = np.array([[[255, 0, 0], [0, 0, 255], [200, 200, 200]]], np.uint8)
    assert np.array_equal(shift_hsv(image, (0, 0, 0)), image)
    red, blue, gray = shift_hsv(image, (120, 0, 100))[0]
    np.testing.assert_array_equal(red, [0, 0, 255])  # a third of the circle of 180 further
    np.testing.assert_array_equal(blue, [0, 255, 0])
    np.testing.assert_array_equal(gray, [255, 255, 255])
