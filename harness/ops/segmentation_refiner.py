"""A segmentation network over scales and mirror images, with or without a CRF: masks as papers test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD, normalise
from harness.ops.crf import Image, crf_from_labels, crf_from_probabilities
from harness.ops.crf_refiner import LABEL_CONFIDENCE, LABEL_CRF, SEGMENTATION_CRF, Mask
from harness.registry import REFINERS

Floats = npt.NDArray[np.float32]


def scaled_inputs(image: Image, scales: Sequence[float]) -> list[Floats]:
    """Per scale the normalised image and its mirror, (2, 3, h, w); OpenCV's bicubic on floats."""
    plain = np.ascontiguousarray(normalise(image).transpose(1, 2, 0))
    stacks = []
    for scale in scales:
        resized = cv2.resize(plain, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        both = np.stack([resized, resized[:, ::-1]])
        stacks.append(np.ascontiguousarray(both.transpose(0, 3, 1, 2)))
    return stacks


def truncated_image(image: Image) -> Image:
    """What a release makes of an image that it normalised: about a fifth of the values lose one grey level.

    The order of the float32 operations decides which ones (hsc spec section 11.4).
    """
    mean, deviation, white = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD, 255))
    normalised = (image.astype(np.float32) / white - mean) / deviation
    return ((normalised * deviation + mean) * white).astype(np.uint8)


def fuse_logits(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Logits of an image at `size` (H, W), (C, H, W): bilinear, plus those of its mirror if there are any.

    Args:
        logits: (1 or 2, C, h, w) of the image, then of its mirror.
    """
    large = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
    return large[0] + large[1].flip(-1) if len(large) == 2 else large[0]


@REFINERS.register_module()
class MultiScaleSegmentation:
    """Mean of the logits over scales and mirror images, softmax, CRF, arg-max (hsc spec section 11.3).

    Args:
        scales: factors of the image size.
        flip: look at the mirror image of every scale, too.
        crf: parameters that differ from DeepLab's or, on labels, from RTC's; None for no CRF.
        crf_on: what the CRF begins with: the `probability` of each class, or the arg-max's `labels`, each
            right with probability 0.7, as the test of RTC's DeepLab v2 seems to (rtc spec section 12).
        exact_uint8: give the CRF the image itself, not `truncated_image`, which is what the release does.
    """

    kind = "stream"

    def __init__(
        self,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        crf: Mapping[str, Any] | None = None,
        crf_on: Literal["probability", "labels"] = "probability",
        exact_uint8: bool = False,
    ) -> None:
        self.scales = tuple(scales)
        self.flip = flip
        self.crf_on = crf_on
        usual = LABEL_CRF if crf_on == "labels" else SEGMENTATION_CRF
        self.parameters = None if crf is None else usual.updated(crf)
        self.exact_uint8 = exact_uint8

    def predict(
        self, image: Image, model: torch.nn.Module, device: torch.device | str
    ) -> dict[str, npt.NDArray[Any]]:
        """`probability` (C, H, W) of an image (H, W, 3) uint8 RGB; without a CRF the arg-max, `label`."""
        total = None
        for stack in scaled_inputs(image, self.scales):
            batch = torch.from_numpy(stack if self.flip else stack[:1]).to(device)
            fused = fuse_logits(model(batch, mode="tensor"), (image.shape[0], image.shape[1]))
            total = fused if total is None else total + fused
        assert total is not None
        mean = total / (len(self.scales) * (1 + self.flip))
        if self.parameters is None:
            return {"label": mean.argmax(0).to(torch.uint8).cpu().numpy()}
        return {"probability": mean.softmax(0).float().cpu().numpy()}

    def __call__(self, image: Image, scores: Mapping[str, npt.NDArray[Any]]) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from what `predict` made of it."""
        if self.parameters is None:
            return scores["label"]
        seen = image if self.exact_uint8 else truncated_image(image)
        probability = scores["probability"]
        if self.crf_on == "labels":
            label, _ = crf_from_labels(
                seen, probability.argmax(0), len(probability), LABEL_CONFIDENCE, self.parameters
            )
        else:
            label, _ = crf_from_probabilities(seen, probability, self.parameters)
        return label.astype(np.uint8)
