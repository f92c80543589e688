"""The second stages of RTC and PPC: the networks of the configs, and what the CRF of the test begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from harness.config import METHODS
from harness.ops.crf import crf_from_labels, crf_from_probabilities
from harness.ops.crf_refiner import LABEL_CONFIDENCE, LABEL_CRF, SEGMENTATION_CRF
from harness.ops.segmentation_refiner import MultiScaleSegmentation
from methods.modules.deeplab_aspp import RESNET101S, DeepLabLargeFOV


def probabilities() -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture (24, 32, 3) of two halves and a doubtful guess (3, 24, 32) of where they are."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 40, (24, 32, 3))
    image[:, 16:] += 150
    logits = rng.normal(0, 0.5, (3, 24, 32))
    logits[1, :, 16:] += 0.4
    return image.astype(np.uint8), torch.from_numpy(logits).softmax(0).float().numpy()


@pytest.mark.parametrize("crf_on", ["probability", "labels"])
def test_the_crf_begins_with_probabilities_or_with_labels(crf_on: Any) -> None:
    image, probability = probabilities()
    found = MultiScaleSegmentation(crf={}, crf_on=crf_on, exact_uint8=True)(
        image, {"probability": probability}
    )
    if crf_on == "labels":
        expected, _ = crf_from_labels(image, probability.argmax(0), 3, LABEL_CONFIDENCE, LABEL_CRF)
    else:
        expected, _ = crf_from_probabilities(image, probability, SEGMENTATION_CRF)
    np.testing.assert_array_equal(found, expected)
    assert (found != probability.argmax(0)).any()


def test_the_two_crfs_differ() -> None:
    image, probability = probabilities()
    soft, hard = (
        MultiScaleSegmentation(crf={}, crf_on=crf_on, exact_uint8=True)(image, {"probability": probability})
        for crf_on in ("probability", "labels")
    )
    assert (soft != hard).any()


def test_the_large_field_of_view_stands_on_the_deep_stem_resnet_too() -> None:
    config = Config.fromfile(METHODS / "_base_/segmentors/deeplab_largefov_r101s_voc.py")
    settings = {name: value for name, value in config.largefov_r101s_train.model.items() if name[0] != "_"}
    with torch.device("meta"):
        network = MODELS.build(settings)
        expected = DeepLabLargeFOV(21, RESNET101S)
    assert isinstance(network, DeepLabLargeFOV)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in expected.state_dict().items()}
    assert [m.dilation for m in network.modules() if isinstance(m, torch.nn.Conv2d)] == [
        m.dilation for m in expected.modules() if isinstance(m, torch.nn.Conv2d)
    ]
