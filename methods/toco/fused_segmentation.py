"""The decoder over scales and mirror images, with or without a CRF (spec `mcc`, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.data.pixels import normalise
from harness.ops.crf import CRFParameters, Image, crf_from_probabilities
from harness.ops.crf_refiner import Mask
from harness.registry import REFINERS
from methods.modules.refined_labels import resize

Rule = Literal["sum", "max"]
_JOIN: dict[Rule, Callable[[Tensor, Tensor], Tensor]] = {"sum": torch.add, "max": torch.maximum}

TEST_CRF = CRFParameters(
    iterations=10, gaussian_sxy=1, gaussian_compat=1, bilateral_sxy=121, bilateral_srgb=5, bilateral_compat=4
)
"""CRF of the released test."""


def fused_logits(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    size: tuple[int, int],
    scales: Sequence[float],
    flips: Rule,
    over_scales: Rule,
) -> Tensor:
    """Logits (K, *size) of an image (1, 3, H, W), over scales and mirror images.

    Args:
        network: (n, 3, h, w) images to logits (n, K, h', w').
        image: normalised.
        size: of the result.
        scales: factors of H and W, cut off to whole pixels.
        flips: how image and mirror are joined.
        over_scales: how the scales are joined.
    """
    total: Tensor | None = None
    for scale in scales:
        scaled = resize(image, (int(scale * image.shape[-2]), int(scale * image.shape[-1])))
        plain, mirror = resize(network(torch.cat([scaled, scaled.flip(-1)])), size)
        joined = _JOIN[flips](plain, mirror.flip(-1))
        total = joined if total is None else _JOIN[over_scales](total, joined)
    if total is None:
        raise ValueError("a prediction needs at least one scale")
    return total


@REFINERS.register_module()
class FusedSegmentation:
    """Masks from fused logits. The releases differ: on VOC flips are summed and the best scale wins, on COCO
    the better flip of each scale is summed, on images that are resized to a square first.

    Args:
        scales: factors of the image size.
        flips: how image and mirror are joined.
        over_scales: how the scales are joined.
        square: side to which the image is resized first; None keeps its size.
        crf: parameters that differ from the release's; None for no CRF.
    """

    kind = "stream"

    def __init__(
        self,
        scales: Sequence[float] = (1.0, 1.5, 1.25),
        flips: Rule = "sum",
        over_scales: Rule = "max",
        square: int | None = None,
        crf: Mapping[str, Any] | None = None,
    ) -> None:
        self.scales, self.square = tuple(scales), square
        self.flips, self.over_scales = flips, over_scales
        self.parameters = None if crf is None else TEST_CRF.updated(crf)

    def predict(
        self, image: Image, model: torch.nn.Module, device: torch.device | str
    ) -> dict[str, npt.NDArray[Any]]:
        """`probability` (K, H, W) of an image (H, W, 3) uint8 RGB; without a CRF the arg-max, `label`."""
        pixels = torch.from_numpy(normalise(image))[None].to(device)
        size = (image.shape[0], image.shape[1])
        if self.square is not None:
            pixels = resize(pixels, (self.square, self.square))
        logits = fused_logits(
            lambda images: model(images, mode="tensor"),
            pixels,
            size,
            self.scales,
            self.flips,
            self.over_scales,
        )
        if self.parameters is None:
            return {"label": logits.argmax(0).to(torch.uint8).cpu().numpy()}
        return {"probability": logits.softmax(0).float().cpu().numpy()}

    def __call__(self, image: Image, scores: Mapping[str, npt.NDArray[Any]]) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from what `predict` made of it."""
        if self.parameters is None:
            return scores["label"]
        return crf_from_probabilities(image, scores["probability"], self.parameters)[0].astype(np.uint8)
