"""Per-image functions of the IRN stage: confident labels, edge map, semantic label (spec B.2, B.8)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.data.palette import IGNORE
from harness.data.pixels import scale_flip_stack
from harness.ops.crf import CRFParameters, Image, Labels, crf_from_labels
from harness.ops.crf_refiner import Mask, channel_to_label, with_background
from harness.ops.random_walk import random_walk
from methods.irn.model import IRNet

Floats = npt.NDArray[np.float32]

IR_LABEL_CRF = CRFParameters(
    iterations=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
)
STRIDE = 4
"""Pixels per cell of the edge map."""


def confident_channels(
    image: Image, high_res: Floats, threshold: float, parameters: CRFParameters, gt_prob: float
) -> Labels:
    """Arg-max over [threshold, maps], smoothed by a CRF on hard labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        high_res: (K, H, W) CAMs, K at least 1.
        threshold: background score.
        parameters: kernels of the CRF.
        gt_prob: confidence of the CRF in its input.

    Returns:
        (H, W) channel indices, 0 background.
    """
    channels = with_background(high_res, threshold).argmax(axis=0)
    label, _ = crf_from_labels(image, channels, len(high_res) + 1, gt_prob, parameters)
    return label


def combine(foreground: Labels, background: Labels, keys: npt.NDArray[np.integer]) -> Mask:
    """One label map from the channel maps of a high and a low threshold.

    Foreground where the high threshold finds it, background where even the low one finds none, else 255.
    """
    undecided = (foreground == 0) & (background > 0)
    return np.where(undecided, np.uint8(IGNORE), channel_to_label(foreground, keys))


def confident_label(
    image: Image,
    high_res: Floats,
    keys: npt.NDArray[np.integer],
    *,
    conf_fg: float = 0.30,
    conf_bg: float = 0.05,
    gt_prob: float = 0.7,
    crf: CRFParameters = IR_LABEL_CRF,
) -> Mask:
    """Confident foreground, confident background, or 255, per pixel (spec B.2, `ir_label`).

    Args:
        image: (H, W, 3) uint8 RGB.
        high_res: (K, H, W) float32 CAMs.
        keys: (K,) class indices without background, ascending.
        conf_fg, conf_bg: background scores that decide on foreground and on background.
        gt_prob: confidence of the CRF in its input.
        crf: kernels of the CRF.

    Returns:
        (H, W) uint8; all 0 for an image without classes (the released code divides by zero there).
    """
    if not len(keys):
        return np.zeros(image.shape[:2], dtype=np.uint8)
    foreground = confident_channels(image, high_res, conf_fg, crf, gt_prob)
    background = confident_channels(image, high_res, conf_bg, crf, gt_prob)
    return combine(foreground, background, keys)


def padded_size(size: tuple[int, int], pad_to: int) -> tuple[int, int]:
    """Input size of the network for an image of `size`: at least `pad_to`, else the next multiple of 16.

    The released code pads to 512 by 512 and, by a negative padding, cuts what is larger, as COCO has it.
    """
    height, width = (max(pad_to, math.ceil(side / 16) * 16) for side in size)
    return height, width


@torch.no_grad()
def infer_pair(model: IRNet, pair: Tensor, pad_to: int) -> tuple[Tensor, Tensor]:
    """Edge map and displacement of an image from the stack of it and its mirror (spec B.8.1).

    Args:
        model: IRNet in evaluation mode.
        pair: (2, 3, H, W) normalised.
        pad_to: smallest input size; the padding is zero and on the right and bottom, of the mirror too.

    Returns:
        Edge probability (ceil(H / 4), ceil(W / 4)) and displacement (2, ceil(H / 4), ceil(W / 4)).
    """
    height, width = pair.shape[-2:]
    padded_height, padded_width = padded_size((height, width), pad_to)
    padded = F.pad(pair, (0, padded_width - width, 0, padded_height - height))
    output = model(padded, mode="tensor")
    rows, columns = math.ceil(height / STRIDE), math.ceil(width / STRIDE)
    logit = output["edge_logit"][:, 0, :rows, :columns]
    edge = ((logit[0] + logit[1].flip(-1)) / 2).sigmoid()
    return edge, output["displacement"][0, :, :rows, :columns]


def edge_map(model: IRNet, image: Image, device: torch.device | str = "cpu", pad_to: int = 512) -> Tensor:
    """Edge probability of an image (H, W, 3) uint8 RGB at stride 4: (ceil(H / 4), ceil(W / 4))."""
    pair = torch.from_numpy(scale_flip_stack(image, 1.0)).to(device)
    edge, _ = infer_pair(model, pair, pad_to)
    return edge


def semantic_scores(
    cam: Tensor, edge: Tensor, size: tuple[int, int], *, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """CAMs after the random walk, at image size, divided by their one maximum (spec B.8.2, B.8.3).

    Args:
        cam: (K, h, w) float32 CAMs at stride 4, K at least 1.
        edge: (h, w) edge probability.
        size: (H, W) of the image.
        radius, beta, exp_times: see `harness.ops.random_walk.random_walk`.

    Returns:
        (K, H, W) float32, at most 1.
    """
    walked = random_walk(cam, edge, radius=radius, beta=beta, exp_times=exp_times)
    large = F.interpolate(walked[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
    scores = large[0, :, : size[0], : size[1]]
    # One maximum for all classes: a weak class of a crowded image can vanish, as in the release (B.11.3).
    return scores / scores.max().clamp_min(torch.finfo(scores.dtype).tiny)


def semantic_label(
    cam: Tensor,
    edge: Tensor,
    keys: npt.NDArray[np.integer],
    size: tuple[int, int],
    *,
    background: float = 0.25,
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
) -> Mask:
    """Pseudo mask of an image from its CAMs and edge map (spec B.8.2 to B.8.4).

    Args:
        cam: (K, h, w) float32 CAMs at stride 4.
        edge: (h, w) edge probability.
        keys: (K,) class indices without background, ascending.
        size: (H, W) of the image.
        background: score of background in the arg-max.
        radius, beta, exp_times: see `harness.ops.random_walk.random_walk`.

    Returns:
        (H, W) uint8; all 0 for an image without classes.
    """
    if not len(keys):
        return np.zeros(size, dtype=np.uint8)
    scores = semantic_scores(cam, edge, size, radius=radius, beta=beta, exp_times=exp_times)
    return channel_to_label(with_background(scores.cpu().numpy(), background).argmax(axis=0), keys)
