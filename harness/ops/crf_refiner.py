"""Refiners that run a dense CRF on the scores of one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harness.ops.crf import CRFParameters, Image, crf_from_probabilities
from harness.ops.resize import upsample_logits
from harness.registry import REFINERS

Mask = npt.NDArray[np.uint8]
Scores = Mapping[str, npt.NDArray[Any]]

SEGMENTATION_CRF = CRFParameters(
    iterations=10, gaussian_sxy=1, gaussian_compat=3, bilateral_sxy=67, bilateral_srgb=3, bilateral_compat=4
)
"""DeepLab's test-time CRF (vwe spec section 9)."""

CAM_CRF = CRFParameters(
    iterations=10, gaussian_sxy=1, gaussian_compat=3, bilateral_sxy=64, bilateral_srgb=3, bilateral_compat=4
)
"""CRF of the journal release of VWL on CAMs (vwe spec section 8)."""

ALPHA_CRF = CRFParameters(
    iterations=8, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_compat=10
)
"""CRF of HSC's release on CAMs (hsc spec section 7.1); SEAM's has 10 iterations (rtc spec section 8.1)."""

LABEL_CRF = CRFParameters(
    iterations=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
)
"""CRF of PPC and RTC on label maps (rtc spec section 6)."""

LABEL_CONFIDENCE = 0.7
"""Probability of a given label in the CRFs of IRN, PPC and RTC on label maps."""


@REFINERS.register_module()
class DenseCRF:
    """CRF on segmentation logits: bilinear to the image size, softmax, CRF, arg-max (vwe spec section 9).

    Args:
        crf: parameters that differ from DeepLab's.
    """

    kind = "cpu"

    def __init__(self, crf: Mapping[str, Any] | None = None) -> None:
        self.parameters = SEGMENTATION_CRF.updated(crf or {})

    def __call__(self, image: Image, scores: Scores) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from `scores['logits']` (C, h, w) float32."""
        height, width = image.shape[:2]
        label, _ = crf_from_probabilities(
            image, segmentation_probability(scores["logits"], (height, width)), self.parameters
        )
        return label.astype(np.uint8)


@REFINERS.register_module()
class CAMDenseCRF:
    """CRF on CAMs: softmax over [background, maps], CRF, arg-max (vwe spec section 8, optional there).

    Args:
        background: constant background score.
        crf: parameters that differ from the release's.
    """

    kind = "cpu"

    def __init__(self, background: float = 0.15, crf: Mapping[str, Any] | None = None) -> None:
        self.background = background
        self.parameters = CAM_CRF.updated(crf or {})

    def __call__(self, image: Image, scores: Scores) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from `scores['keys']` (K,) and `['high_res']` (K, H, W)."""
        keys = scores["keys"]
        if not len(keys):
            return np.zeros(image.shape[:2], dtype=np.uint8)
        label, _ = crf_from_probabilities(
            image, cam_probability(scores["high_res"], self.background), self.parameters
        )
        return channel_to_label(label, keys)


@REFINERS.register_module()
class CAMAlphaCRF:
    """CRF on CAMs whose background is (1 - best class)^alpha (hsc spec section 7.1, rtc spec section 8.1).

    The maps are used as they are: they need not sum to 1 over the classes.

    Args:
        alpha: the smaller, the more background.
        crf: parameters that differ from the release's.
    """

    kind = "cpu"

    def __init__(self, alpha: float, crf: Mapping[str, Any] | None = None) -> None:
        self.alpha = alpha
        self.parameters = ALPHA_CRF.updated(crf or {})

    def __call__(self, image: Image, scores: Scores) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from `scores['keys']` (K,) and `['high_res']` (K, H, W)."""
        keys = scores["keys"]
        if not len(keys):
            return np.zeros(image.shape[:2], dtype=np.uint8)
        label, _ = crf_from_probabilities(
            image, with_alpha_background(scores["high_res"], self.alpha), self.parameters
        )
        return channel_to_label(label, keys)


def segmentation_probability(
    logits: npt.NDArray[np.float32], size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Softmax of logits (C, h, w) after bilinear interpolation to `size` = (H, W): (C, H, W)."""
    return torch.from_numpy(upsample_logits(logits, size)).softmax(0).numpy()


def cam_probability(maps: npt.NDArray[np.float32], background: float) -> npt.NDArray[np.float32]:
    """Softmax over a constant background score and class maps: (K, H, W) to (K + 1, H, W)."""
    return torch.as_tensor(with_background(maps, background)).softmax(0).numpy()


def with_background(maps: npt.NDArray[np.float32], background: float) -> npt.NDArray[np.float32]:
    """Class maps (K, H, W) behind a constant background map: (K+1, H, W)."""
    return np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=background)


def with_alpha_background(maps: npt.NDArray[np.float32], alpha: float) -> npt.NDArray[np.float32]:
    """Class maps (K, H, W) in [0, 1] behind a background of (1 - best class)^alpha: (K+1, H, W)."""
    background = np.clip(1 - maps.max(0, keepdims=True), 0, None) ** alpha
    return np.concatenate([background.astype(np.float32), maps])


def channel_to_label(channel: npt.NDArray[np.integer], keys: npt.NDArray[np.integer]) -> Mask:
    """Channel indices (0 background, then `keys` in order) to mask labels (0 background, class + 1)."""
    return np.concatenate([[0], np.asarray(keys) + 1]).astype(np.uint8)[channel]
