"""The refiner that only puts a background behind the CAMs."""

from __future__ import annotations

from harness.ops.crf import Image
from harness.ops.crf_refiner import Mask, Scores, channel_to_label, with_background
from harness.registry import REFINERS


@REFINERS.register_module()
class CAMThreshold:
    """Arg-max over a constant background score and the CAMs, ties to the lower label (hsc spec section 7).

    Args:
        background: the constant.
    """

    kind = "cpu"

    def __init__(self, background: float) -> None:
        self.background = background

    def __call__(self, image: Image, scores: Scores) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from `scores['keys']` (K,) and `['high_res']` (K, H, W)."""
        return channel_to_label(
            with_background(scores["high_res"], self.background).argmax(0), scores["keys"]
        )
