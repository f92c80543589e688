"""Transforms: exact sizes, offsets and padding; draws that cover their ranges."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from harness.data.colours import ColourJitter
from harness.data.geometry import Offsets
from harness.data.pixels import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    normalise,
    reduce_label,
    scale_flip_stack,
    scaled_size,
    subtract_caffe_mean,
)
from harness.data.transforms import (
    DeepLabCrop,
    LongSideCrop,
    RandomResizedCrop,
    RandomScaleCrop,
    WholeImage,
    deeplab_crop,
    irn_crop,
    long_side_crop,
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture
def label() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 21, (60, 90), dtype=np.uint8)


def test_normalise_is_the_textbook_formula(image):
    expected = ((image / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)).transpose(2, 0, 1)
    ours = normalise(image)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_sizes_are_rounded_half_to_even():
    assert scaled_size((61, 87), 0.5) == (30, 44)
    assert scaled_size((5, 7), 1.5) == (8, 10)


def test_stack_holds_the_bicubic_resize_and_its_mirror(image):
    stack = scale_flip_stack(image, 1.5)
    resized = np.asarray(Image.fromarray(image).resize((135, 90), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(stack[0], normalise(resized))
    np.testing.assert_array_equal(stack[1], stack[0][..., ::-1])


def test_long_side_crop_cuts_a_long_axis_and_places_a_short_one(image):
    # Long side 90 stays: width 90 > 70 is cut at 15, height 60 < 70 goes to row 4 of the canvas.
    geometry = long_side_crop(image.shape, long_side=90, flip=False, offsets=Offsets(15, 4), crop=70)
    sample = geometry.image(image, normalise)
    np.testing.assert_array_equal(sample[:, 4:64], normalise(image)[:, :, 15:85])
    assert not sample[:, :4].any()
    assert not sample[:, 64:].any()


def test_flip_comes_before_the_crop(image, label):
    geometry = irn_crop(image.shape, scale=1.0, flip=True, offsets=Offsets(10, 5), crop=40)
    expected = normalise(image[:, ::-1])[:, 5:45, 10:50]
    np.testing.assert_array_equal(geometry.image(image, normalise), expected)
    np.testing.assert_array_equal(geometry.label(label), label[:, ::-1][5:45, 10:50])


def test_label_outside_the_image_is_ignored(image, label):
    cut = irn_crop(image.shape, scale=0.5, flip=False, offsets=Offsets(19, 34), crop=64).label(label)
    nearest = np.asarray(Image.fromarray(label).resize((45, 30), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(cut[34:, 19:], nearest)
    assert (cut[:34] == 255).all()
    assert (cut[:, :19] == 255).all()


def test_reduced_label_is_pils_nearest_resize():
    label = np.random.default_rng(2).integers(0, 256, (64, 128), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(label).resize((32, 16), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(reduce_label(label), expected)


def test_deeplab_crop_pads_before_the_image_with_the_mean(image, label):
    # Height 60 < 80 is padded above by 20; width 90 > 80 is cut at 7.
    geometry = deeplab_crop(image.shape, scale=1.0, flip=False, offsets=Offsets(7, 0), crop=80)
    sample, cut = geometry.image(image, subtract_caffe_mean), geometry.label(label)
    assert not sample[:, :20].any()
    assert (cut[:20] == 255).all()
    np.testing.assert_array_equal(cut[20:], label[:, 7:87])
    blue = image[:, 7:87, 2] - np.float32(104.008)
    np.testing.assert_allclose(sample[0, 20:], blue, atol=1e-5)


def test_caffe_mean_keeps_the_size_and_swaps_the_channels(image, label):
    sample, same = WholeImage()(image, label, np.random.default_rng(0))
    assert same is label
    np.testing.assert_allclose(
        sample,
        image[..., ::-1].transpose(2, 0, 1) - np.array([[[104.008]], [[116.669]], [[122.675]]]),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "transform",
    [
        LongSideCrop(long_side=(50, 120), crop=64),
        RandomScaleCrop(scale=(0.5, 1.5), crop=64, label_stride=1),
        DeepLabCrop(scales=(0.5, 1.0, 1.5), crop=64),
        RandomResizedCrop(64),
    ],
    ids=["long_side", "random_scale", "deeplab", "resized_crop"],
)
def test_sample_is_a_function_of_the_generator(transform, image, label):
    first, first_label = transform(image, label, np.random.default_rng(7))
    again, again_label = transform(image, label, np.random.default_rng(7))
    other, _ = transform(image, label, np.random.default_rng(8))
    assert first.shape == (3, 64, 64)
    assert first.dtype == np.float32
    assert first_label.shape == (64, 64)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_label, again_label)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "transform",
    [LongSideCrop((90, 90), 64), RandomScaleCrop((1, 1), 64, label_stride=1), DeepLabCrop([1], 64)],
)
def test_every_offset_and_both_mirrors_are_drawn(transform):
    # A label that names its own column: the first labelled one tells the offset, the order tells the mirror.
    columns = np.broadcast_to(np.arange(90, dtype=np.uint8), (60, 90)).copy()
    image = np.zeros((60, 90, 3), np.uint8)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(600):
        _, cut = transform(image, columns, rng)
        row = cut[(cut != 255).any(axis=1)][0]
        flip = row[0] > row[-1]
        seen.add((bool(flip), int(89 - row[0] if flip else row[0])))
    assert seen == {(flip, offset) for flip in (False, True) for offset in range(27)}


def test_image_and_label_are_moved_together():
    # The label is a function of the image, so it can be recomputed from the transformed image.
    image = np.random.default_rng(3).integers(0, 2, (60, 90, 1), dtype=np.uint8).repeat(3, axis=2) * 255
    label = (image[..., 0] > 0).astype(np.uint8)
    for seed in range(10):
        crop = RandomScaleCrop(scale=(1, 1), crop=64, label_stride=1)
        sample, cut = crop(image, label, np.random.default_rng(seed))
        inside = cut != 255
        np.testing.assert_array_equal(cut[inside], (sample[0][inside] > 0).astype(np.uint8))


def test_irnet_samples_carry_their_label_at_stride_4(image, label):
    full, at_4 = (
        RandomScaleCrop(crop=64, label_stride=stride)(image, label, np.random.default_rng(3))[1]
        for stride in (1, 4)
    )
    np.testing.assert_array_equal(at_4, full[2::4, 2::4])


@pytest.mark.parametrize(
    "transform",
    [
        LongSideCrop(long_side=(50, 120), crop=64),
        LongSideCrop(long_side=(50, 120), crop=64, jitter={"hue": 0.1}),
        RandomScaleCrop(crop=64, label_stride=1),
        DeepLabCrop(crop=64),
        RandomResizedCrop(64),
    ],
    ids=["long_side", "jittered", "random_scale", "deeplab", "resized_crop"],
)
def test_maps_move_with_the_image_and_change_nothing_else(transform, image, label):
    # The map is the image's own green channel, so that it can be told from the sample where colours stay.
    green = np.ascontiguousarray(image[..., 1])
    for seed in range(10):
        plain, cut = transform(image, label, np.random.default_rng(seed))
        sample, same, maps = transform.with_maps(image, label, {"green": green}, np.random.default_rng(seed))
        np.testing.assert_array_equal(sample, plain)
        np.testing.assert_array_equal(same, cut)
        assert maps["green"].shape == (1, 64, 64)
        assert maps["green"].dtype == np.float32
        inside = cut != 255
        assert not maps["green"][0][~inside].any()
        if transform.jitter is None and isinstance(transform, LongSideCrop | RandomScaleCrop):
            expected = sample[1] * IMAGENET_STD[1] + IMAGENET_MEAN[1]
            np.testing.assert_allclose(maps["green"][0][inside], expected[inside], atol=1e-6)


def test_white_maps_are_one(image):
    for transform in (LongSideCrop((90, 90), 60), RandomResizedCrop(60)):
        white = {"all": np.full(image.shape[:2], 255, np.uint8)}
        _, _, maps = transform.with_maps(image, None, white, np.random.default_rng(0))
        assert (maps["all"] == 1).all()


def test_resized_crop_is_torchvisions(image, label):
    rng = np.random.default_rng(0)
    for _ in range(20):
        geometry = RandomResizedCrop(64, resample="bicubic").geometry((60, 90), rng)
        box = (
            geometry.rows.start,
            geometry.columns.start,
            geometry.rows.stop - geometry.rows.start,
            geometry.columns.stop - geometry.columns.start,
        )
        expected = functional.resized_crop(
            Image.fromarray(image), *box, [64, 64], v2.InterpolationMode.BICUBIC
        )
        pixels = np.asarray(expected)[:, ::-1] if geometry.flip else np.asarray(expected)
        np.testing.assert_array_equal(geometry.image(image, normalise), normalise(pixels))
        assert geometry.label(label).shape == (64, 64)


def test_resized_crops_have_areas_and_ratios_in_their_ranges():
    rng, draw = np.random.default_rng(0), RandomResizedCrop(64, area=(0.2, 0.6), ratio=(0.5, 2.0))
    boxes = [draw.geometry((300, 400), rng) for _ in range(300)]
    heights = np.array([box.rows.stop - box.rows.start for box in boxes])
    widths = np.array([box.columns.stop - box.columns.start for box in boxes])
    areas, ratios = heights * widths / 120_000, np.log2(widths / heights)
    assert areas.min() > 0.195
    assert areas.max() < 0.605
    assert abs(ratios).max() < 1.02
    assert abs(ratios.mean()) < 0.12  # log-uniform: wide and high ones are equally frequent
    assert {box.flip for box in boxes} == {False, True}
    assert max(box.rows.stop for box in boxes) <= 300
    assert max(box.columns.stop for box in boxes) <= 400


def test_where_no_box_fits_the_largest_in_the_middle_is_taken():
    geometry = RandomResizedCrop(64, area=(1, 1)).geometry((30, 300), np.random.default_rng(0))
    assert geometry.rows == slice(0, 30)
    assert geometry.columns == slice(130, 170)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_change_of_colour_is_torchvisions(name, image):
    strengths = dict.fromkeys(["brightness", "contrast", "saturation", "hue"], 0.0) | {name: 0.4}
    low, high = (-0.4, 0.4) if name == "hue" else (0.6, 1.4)
    for seed in range(5):
        factor = np.random.default_rng(seed).uniform(low, high)
        expected = getattr(functional, f"adjust_{name}")(Image.fromarray(image), factor)
        change = ColourJitter(**strengths).draw(np.random.default_rng(seed))
        np.testing.assert_array_equal(change(image), np.asarray(expected))


def test_colours_change_in_any_order_and_only_where_the_image_is(image):
    changed = {ColourJitter().draw(np.random.default_rng(seed))(image).tobytes() for seed in range(20)}
    assert len(changed) == 20
    sample, _ = LongSideCrop((30, 30), 64, jitter={})(image, None, np.random.default_rng(0))
    plain, _ = LongSideCrop((30, 30), 64)(image, None, np.random.default_rng(0))
    np.testing.assert_array_equal(sample == 0, plain == 0)
    assert not np.array_equal(sample, plain)
