"""Segmentation in overlapping windows, over scales and mirror images (spec `semples`, section 9.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.pixels import normalise
from harness.ops.crf import CRFParameters, Image, crf_from_probabilities
from harness.ops.crf_refiner import Mask
from harness.registry import REFINERS

SEGMENTER_CRF = CRFParameters(
    iterations=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=83, bilateral_srgb=5, bilateral_compat=3
)
"""CRF of WeakTr's release on the segmentation of VOC."""


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along a side; the last window ends at the side's end."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - window), 0) for index in range(count)]


def window_logits(model: torch.nn.Module, images: Tensor, window: int, stride: int) -> Tensor:
    """Mean of the logits of all windows that see a pixel: (B, C, H, W) for images (B, 3, H, W)."""
    height, width = images.shape[-2:]
    total: Tensor | None = None
    seen = images.new_zeros(height, width)
    for top in window_starts(height, window, stride):
        for left in window_starts(width, window, stride):
            place = (..., slice(top, top + window), slice(left, left + window))
            logits = model(images[place], mode="tensor")
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[place] += logits
            seen[place] += 1
    assert total is not None
    return total / seen


@REFINERS.register_module()
class SlidingWindowSegmentation:
    """Mean of the probabilities over scales and mirror images, each seen in windows; CRF; arg-max.

    Args:
        short_side: of the image at scale 1, in pixels; None for its own size.
        scales: factors of that size.
        flip: look at the mirror image of every scale, too.
        window: side of a window.
        stride: between two windows.
        crf: parameters that differ from `SEGMENTER_CRF`; None for no CRF.
    """

    kind = "stream"

    def __init__(
        self,
        short_side: int | None = 520,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: int = 480,
        stride: int = 320,
        crf: Mapping[str, Any] | None = None,
    ) -> None:
        self.short_side, self.scales, self.flip = short_side, tuple(scales), flip
        self.window, self.stride = window, stride
        self.parameters = None if crf is None else SEGMENTER_CRF.updated(crf)

    def inputs(self, image: Image) -> list[npt.NDArray[np.float32]]:
        """Per scale the normalised image and, with `flip`, its mirror: (1 or 2, 3, h, w)."""
        base = 1.0 if self.short_side is None else self.short_side / min(image.shape[:2])
        stacks = []
        for scale in self.scales:
            height, width = (int(side * base * scale + 0.5) for side in image.shape[:2])
            resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            plain = normalise(np.asarray(resized, np.uint8))
            stacks.append(np.stack([plain, plain[..., ::-1]] if self.flip else [plain]))
        return stacks

    def predict(
        self, image: Image, model: torch.nn.Module, device: torch.device | str
    ) -> dict[str, npt.NDArray[Any]]:
        """`probability` (C, H, W) of an image (H, W, 3) uint8 RGB; without a CRF the arg-max, `label`."""
        total: Tensor | None = None
        for stack in self.inputs(image):
            logits = window_logits(model, torch.from_numpy(stack).to(device), self.window, self.stride)
            full = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
            probability = full.softmax(1)
            fused = probability[0] + probability[1].flip(-1) if self.flip else probability[0]
            total = fused if total is None else total + fused
        assert total is not None
        if self.parameters is None:
            return {"label": total.argmax(0).to(torch.uint8).cpu().numpy()}
        return {"probability": (total / total.sum(0)).float().cpu().numpy()}

    def __call__(self, image: Image, scores: Mapping[str, npt.NDArray[Any]]) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from what `predict` made of it."""
        if self.parameters is None:
            return scores["label"]
        return crf_from_probabilities(image, scores["probability"], self.parameters)[0].astype(np.uint8)
