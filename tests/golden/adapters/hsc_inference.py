"""Golden cases of HSC's inference: multi-scale CAMs, CRFs, the test of its second stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.pixels import normalise, scale_flip_stack
from harness.inference import MultiScaleCAM
from harness.ops.crf import CRFParameters, crf_from_labels, crf_from_probabilities
from harness.ops.crf_refiner import ALPHA_CRF, SEGMENTATION_CRF, channel_to_label, with_alpha_background
from harness.ops.segmentation_refiner import MultiScaleSegmentation, truncated_image
from harness.ops.threshold_refiner import CAMThreshold
from tests.golden.case import Case, adapter


def repeated(array: np.ndarray, times: int) -> np.ndarray:
    """Every entry of the first two axes repeated."""
    return array.repeat(times, axis=0).repeat(times, axis=1)


def repeated_image(case: Case) -> np.ndarray:
    """The uint8 image that the cases describe."""
    return repeated(case.arrays["img"].astype(np.uint8), case.config["repeat"])


def crf_parameters(config: Any, iterations: str = "t") -> CRFParameters:
    return CRFParameters(
        iterations=config[iterations],
        gaussian_sxy=config["gauss_sxy"],
        gaussian_compat=config["gauss_compat"],
        bilateral_sxy=config["bilateral_sxy"],
        bilateral_srgb=config["bilateral_srgb"],
        bilateral_compat=config["bilateral_compat"],
    )


class StandIn(nn.Module):
    """The convolution that takes the network's place in whole pipelines."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 21, 8, stride=8)
        self.load_state_dict(case.state())


class CAMStandIn(StandIn):
    def forward(self, inputs: Tensor, mode: str) -> Tensor:
        assert mode == "tensor"
        return self.proj(inputs).softmax(1)[:, :-1]


class SegmentationStandIn(StandIn):
    def forward(self, inputs: Tensor, mode: str) -> Tensor:
        assert mode == "tensor"
        return F.interpolate(self.proj(inputs), size=inputs.shape[-2:], mode="bilinear", align_corners=True)


@adapter("infer.preprocess", method="hsc")
def preprocess(case: Case) -> dict[str, Any]:
    stacks = [scale_flip_stack(repeated_image(case), scale) for scale in case.config["scales"]]
    return {f"view{i}": view for i, view in enumerate(view for stack in stacks for view in stack)}


@adapter("infer.pipeline", method="hsc")
@torch.no_grad()
def pipeline(case: Case) -> dict[str, Any]:
    image, config = repeated_image(case), case.config
    inference = MultiScaleCAM(config["scales"], flip_fusion="sum", high_res="direct")
    prepared = inference.prepare(image, case.arrays["label"])
    scores = inference.infer(CAMStandIn(case).eval(), prepared, torch.device("cpu"))
    keys, maps = scores["keys"], scores["high_res"]
    label = CAMThreshold(config["thr"])(image, scores)
    assert ALPHA_CRF.iterations == config["crf_t"]
    energies = with_alpha_background(maps, config["crf_alpha"])
    channel, probability = crf_from_probabilities(image, energies, ALPHA_CRF)
    return {
        "cam_keys": keys,
        "cams": maps,
        "label_png": label,
        "crf_keys": channel_to_label(np.arange(len(keys) + 1), keys),
        "crf_probs": probability,
        "crf_argmax_in_key_order": channel,
        "label_histogram": np.bincount(label.ravel(), minlength=21),
    }


@adapter("crf.inference", method="hsc")
def crf_inference(case: Case) -> dict[str, Any]:
    probability = case.tensors["logits"].softmax(0).numpy()
    parameters = crf_parameters(case.config)
    assert parameters == ALPHA_CRF
    label, marginals = crf_from_probabilities(repeated_image(case), probability, parameters)
    return {"probs": probability, "q": marginals, "argmax": label}


@adapter("crf.inference_label", method="hsc")
def crf_inference_label(case: Case) -> dict[str, Any]:
    image, config = repeated_image(case), case.config
    labels = np.array(config["classes"])[case.arrays["lab"]]
    labels = repeated(labels, config["label_repeat"])[: image.shape[0], : image.shape[1]]
    refined, _ = crf_from_labels(image, labels, 21, config["gt_prob"], crf_parameters(config))
    return {"label_in": labels, "label_out": refined, "changed_pixels": int((refined != labels).sum())}


@adapter("seg.denormalise", method="hsc")
def denormalise(case: Case) -> dict[str, Any]:
    image = repeated_image(case)
    back = truncated_image(image).transpose(2, 0, 1)
    return {
        "normalised": normalise(image),
        "back": back,
        "pixels_off_by_one": int((back != image.transpose(2, 0, 1)).sum()),
    }


@adapter("seg.crf_deeplabv2", method="hsc")
def seg_crf(case: Case) -> dict[str, Any]:
    image, probability = repeated_image(case), case.tensors["logits"].softmax(0).numpy()
    parameters = crf_parameters(case.config, iterations="iterations")
    assert parameters == SEGMENTATION_CRF
    label, marginals = crf_from_probabilities(image, probability, parameters)
    variant = CRFParameters(
        iterations=case.config["n_iters_variant"],
        gaussian_sxy=3,
        gaussian_compat=3,
        bilateral_sxy=32,
        bilateral_srgb=13,
        bilateral_compat=10,
    )
    _, other = crf_from_probabilities(image, probability, variant)
    return {"q": marginals, "argmax": label, "variant_q": other}


@adapter("seg.test_pipeline", method="hsc")
@torch.no_grad()
def seg_test(case: Case) -> dict[str, Any]:
    image = repeated_image(case)
    refiner = MultiScaleSegmentation(case.config["scales"], flip=True, crf={})
    scores = refiner.predict(image, SegmentationStandIn(case), "cpu")
    assert refiner.parameters is not None
    _, after = crf_from_probabilities(truncated_image(image), scores["probability"], refiner.parameters)
    return {
        "prob_before_crf": scores["probability"],
        "label_before_crf": scores["probability"].argmax(0),
        "prob_after_crf": after,
        "label_after_crf": refiner(image, scores),
    }
