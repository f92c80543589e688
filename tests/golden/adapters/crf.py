"""Golden cases of the dense CRF."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.ops.crf import CRFParameters, crf_from_labels, crf_from_probabilities
from harness.ops.crf_refiner import CAM_CRF, SEGMENTATION_CRF, cam_probability, segmentation_probability
from methods.irn.refine import IR_LABEL_CRF, combine, confident_channels
from tests.golden.case import Case, adapter


def grid_image(case: Case) -> np.ndarray:
    """The uint8 image that cases describe as grid + noise."""
    noise = case.arrays["noise"]
    return np.clip(enlarge(case.arrays["grid"], 16, noise.shape[:2]) + noise, 0, 255).astype(np.uint8)


def enlarge(array: np.ndarray, factor: int, size: tuple[int, ...]) -> np.ndarray:
    """Repeat the first two axes `factor` times and cut them to `size`."""
    return array.repeat(factor, axis=0).repeat(factor, axis=1)[: size[0], : size[1]]


def enlarge_maps(maps: np.ndarray, factor: int, size: tuple[int, ...]) -> np.ndarray:
    """`enlarge` for channels first: (K, h, w)."""
    return enlarge(maps.transpose(1, 2, 0), factor, size).transpose(2, 0, 1)


@adapter("crf.cam_dense_crf")
def cam_dense_crf(case: Case) -> dict[str, Any]:
    image, config = grid_image(case), case.config
    assert (
        CRFParameters(
            iterations=config["iter"],
            gaussian_sxy=config["pos_xy_std"],
            gaussian_compat=config["pos_w"],
            bilateral_sxy=config["bi_xy_std"],
            bilateral_srgb=config["bi_rgb_std"],
            bilateral_compat=config["bi_w"],
        )
        == CAM_CRF
    )
    cam = enlarge_maps(case.arrays["cam"], 8, image.shape[:2])
    label, probability = crf_from_probabilities(image, cam_probability(cam, config["bkgscore"]), CAM_CRF)
    histogram = np.bincount(label.ravel(), minlength=len(probability))
    return {"probability": probability, "label": label, "label_histogram": histogram}


@adapter("seg.crf")
def seg_crf(case: Case) -> dict[str, Any]:
    image = grid_image(case)
    probability = segmentation_probability(case.arrays["logits"], image.shape[:2])
    label, marginals = crf_from_probabilities(image, probability, SEGMENTATION_CRF)
    histogram = np.bincount(label.ravel(), minlength=len(marginals))
    return {"probability": marginals, "label": label, "label_histogram": histogram}


@adapter("irn.crf_inference_label")
def crf_inference_label(case: Case) -> dict[str, Any]:
    image, config = grid_image(case), case.config
    given = enlarge(case.arrays["label"], 8, image.shape[:2])
    parameters = IR_LABEL_CRF.updated({"iterations": config["t"]})
    label, _ = crf_from_labels(image, given, config["n_labels"], config["gt_prob"], parameters)
    return {"label": label, "histogram": np.bincount(label.ravel(), minlength=config["n_labels"])}


@adapter("irn.ir_label")
def ir_label(case: Case) -> dict[str, Any]:
    image, config, keys = grid_image(case), case.config, case.arrays["keys"]
    crf = {name: config["crf"][name] for name in config["crf"] if name not in ("t", "gt_prob")}
    parameters = IR_LABEL_CRF.updated({"iterations": config["crf"]["t"], **crf})
    high_res = enlarge_maps(np.clip(case.arrays["cam"], 0, None), 8, image.shape[:2])
    foreground, background = (
        confident_channels(image, high_res, threshold, parameters, config["crf"]["gt_prob"])
        for threshold in (config["conf_fg_thres"], config["conf_bg_thres"])
    )
    label = combine(foreground, background, keys)
    counts = [int((label == value).sum()) for value in (0, *(keys + 1), 255)]
    return {"label": label, "label_counts": counts, "crf_fg": foreground, "crf_bg": background}
