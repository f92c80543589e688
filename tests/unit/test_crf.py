from __future__ import annotations

import pickle

import numpy as np
import pytest

from harness.errors import InputError
from harness.ops.crf import CRFParameters, crf_from_labels, crf_from_probabilities
from harness.ops.crf_refiner import SEGMENTATION_CRF, CAMDenseCRF, DenseCRF
from harness.registry import REFINERS

SIZE = (24, 30)


@pytest.fixture
def image() -> np.ndarray:
    """Dark left half, bright right half, slight noise."""
    noise = np.random.default_rng(1).integers(0, 10, size=(*SIZE, 3))
    noise[:, SIZE[1] // 2 :] += 200
    return noise.astype(np.uint8)


def halves(left: int, right: int) -> np.ndarray:
    label = np.full(SIZE, left)
    label[:, SIZE[1] // 2 :] = right
    return label


def test_labels_snap_to_the_image(image: np.ndarray) -> None:
    given = halves(0, 1)
    given[5:8, 5:8] = 1  # a speck of the wrong label
    label, probability = crf_from_labels(image, given, 2, 0.7, SEGMENTATION_CRF)
    np.testing.assert_array_equal(label, halves(0, 1))
    assert probability.shape == (2, *SIZE)
    np.testing.assert_allclose(probability.sum(0), 1, rtol=1e-5)


def test_no_iterations_return_the_unary(image: np.ndarray) -> None:
    probability = np.random.default_rng(2).dirichlet(np.ones(3), size=SIZE).transpose(2, 0, 1)
    _, marginals = crf_from_probabilities(image, probability, SEGMENTATION_CRF.updated({"iterations": 0}))
    np.testing.assert_allclose(marginals, probability, rtol=1e-3, atol=1e-5)


def test_read_only_and_strided_images_are_accepted(image: np.ndarray) -> None:
    given = halves(0, 1)
    expected, _ = crf_from_labels(image, given, 2, 0.7, SEGMENTATION_CRF)
    strided = np.repeat(image, 2, axis=1)[:, ::2]
    strided.setflags(write=False)
    label, _ = crf_from_labels(strided, given, 2, 0.7, SEGMENTATION_CRF)
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize(("labels", "count"), [(np.zeros(SIZE, int), 1), (np.full(SIZE, 3), 3)])
def test_labels_outside_of_their_range_are_refused(image: np.ndarray, labels: np.ndarray, count: int) -> None:
    with pytest.raises(ValueError, match="label"):
        crf_from_labels(image, labels, count, 0.7, SEGMENTATION_CRF)


def test_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"crf\.iteration is not .*'iterations'"):
        DenseCRF(crf={"iteration": 3})


def test_config_overrides_single_parameters() -> None:
    assert DenseCRF(crf={"bilateral_sxy": 50}).parameters == CRFParameters(10, 1, 3, 50, 3, 4)


def test_segmentation_refiner_from_config(image: np.ndarray) -> None:
    refiner = pickle.loads(pickle.dumps(REFINERS.build({"type": "DenseCRF"})))
    assert refiner.kind == "cpu"
    logits = np.zeros((3, 6, 8), dtype=np.float32)
    logits[2, :, :4] = 2
    logits[1, :, 4:] = 2
    mask = refiner(image, {"logits": logits, "size": np.array(SIZE)})
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, halves(2, 1))


def test_cam_refiner_maps_channels_to_labels(image: np.ndarray) -> None:
    high_res = np.stack([halves(0, 1) * 0.05, halves(1, 0)]).astype(np.float32)
    mask = CAMDenseCRF()(image, {"keys": np.array([3, 7]), "high_res": high_res})
    np.testing.assert_array_equal(mask, halves(8, 0))


def test_image_without_classes_is_background(image: np.ndarray) -> None:
    scores = {"keys": np.zeros(0, dtype=np.int64), "high_res": np.zeros((0, *SIZE), dtype=np.float32)}
    assert not CAMDenseCRF()(image, scores).any()
