"""Pseudo masks from CAMs by a threshold and a CRF on the hard labels (spec `semples`, section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.ops.crf import CRFParameters, Image, crf_from_labels
from harness.ops.crf_refiner import Mask, Scores, channel_to_label, with_background
from harness.registry import REFINERS

CAM_LABEL_CRF = CRFParameters(
    iterations=10, gaussian_sxy=4, gaussian_compat=3, bilateral_sxy=83, bilateral_srgb=5, bilateral_compat=3
)
"""CRF of WeakTr's release on VOC."""


@REFINERS.register_module()
class CAMLabelCRF:
    """Arg-max over a constant background score and the CAMs, then a CRF that takes these labels for probable.

    Args:
        background: the constant.
        confidence: probability of a given label; the rest is shared by the other labels of the image.
        crf: parameters that differ from `CAM_LABEL_CRF`.
    """

    kind = "cpu"

    def __init__(
        self, background: float, confidence: float = 0.7, crf: Mapping[str, Any] | None = None
    ) -> None:
        self.background, self.confidence = background, confidence
        self.parameters = CAM_LABEL_CRF.updated(crf or {})

    def __call__(self, image: Image, scores: Scores) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from `scores['keys']` (K,) and `['high_res']` (K, H, W)."""
        keys = scores["keys"]
        channels = with_background(scores["high_res"], self.background).argmax(0)
        if len(keys):
            channels, _ = crf_from_labels(image, channels, len(keys) + 1, self.confidence, self.parameters)
        return channel_to_label(channels, keys)
