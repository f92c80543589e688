"""RTC's prediction: the segmentation branch, gated by what the CAM says the image has.

Source: spec `rtc`, section 6. No image-level labels are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.pixels import scale_flip_stack
from harness.inference import Image, Scores
from harness.ops.crf import CRFParameters, crf_from_labels
from harness.ops.crf_refiner import Mask
from harness.registry import INFERENCES, REFINERS
from methods.modules.equivariance import resize

LABEL_CRF = CRFParameters(
    iterations=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
)
"""CRF of the released prediction, on labels."""

Prepared = tuple[list[npt.NDArray[np.float32]], tuple[int, int]]


def gated_scores(gates: Tensor, logits: Tensor, input_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Scores (n, K - 1, *size) of the classes: probability of the pixel times that of the image.

    Args:
        gates: (n, K) probabilities that the images have the classes, background first.
        logits: (n, K, h, w) of the segmentation branch.
        input_size: of the network's input, to which the logits are resized first.
        size: of the image.
    """
    scores = resize(logits, input_size).softmax(1) * gates[:, :, None, None]
    return F.interpolate(scores[:, 1:], size=size, mode="bilinear", align_corners=False)


def fused_scores(
    model: Any, stacks: Sequence[npt.NDArray[np.float32]], size: tuple[int, int], device: torch.device | str
) -> Tensor:
    """Mean (K - 1, H, W) of `gated_scores` over scales and mirror images.

    Args:
        model: has `segment`, as `RTC`.
        stacks: per scale (2, 3, h, w), the image and its mirror.
        size: H, W of the image.
        device: that the model is on.
    """
    total: Tensor | None = None
    for stack in stacks:
        gates, logits = model.segment(torch.from_numpy(stack).to(device))
        scores = gated_scores(gates, logits, (stack.shape[-2], stack.shape[-1]), size).float()
        both = scores[0] + scores[1].flip(-1)
        total = both if total is None else total + both
    if total is None:
        raise ValueError("a prediction needs at least one scale")
    return total / (2 * len(stacks))


def winners(scores: Tensor) -> Tensor:
    """Ascending classes that are the best of (K - 1, H, W) at some pixel; no other can be predicted."""
    return scores.argmax(0).unique()


@INFERENCES.register_module()
class GatedScores:
    """Scores of the segmentation branch, to be swept over background scores.

    Of the classes only those are stored that are the best somewhere: at no background score would another
    one be predicted, and VOC's val would take 22 GB.

    Args:
        scales: factors of the image size; each has its mirror image.
    """

    kind: Literal["cam", "logits"] = "cam"
    needs_labels = False

    def __init__(self, scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0)) -> None:
        self.scales = tuple(scales)

    def prepare(self, image: Image, labels: npt.NDArray[np.float32] | None) -> Prepared:
        """One (2, 3, h, w) stack per scale, and the image size."""
        return [scale_flip_stack(image, scale) for scale in self.scales], (image.shape[0], image.shape[1])

    def infer(self, model: torch.nn.Module, prepared: Prepared, device: torch.device) -> Scores:
        """keys (P,), cam (P, H/4, W/4) and high_res (P, H, W) float32."""
        stacks, (height, width) = prepared
        scores = fused_scores(model, stacks, (height, width), device)
        keys = winners(scores)
        scores = scores[keys]
        quarter = F.interpolate(
            scores[None], size=((height + 3) // 4, (width + 3) // 4), mode="bilinear", align_corners=False
        )[0]
        return {
            "keys": keys.cpu().numpy(),
            "cam": quarter.cpu().numpy(),
            "high_res": scores.cpu().numpy(),
        }


@REFINERS.register_module()
class GatedSegmentation:
    """Masks of the segmentation branch: arg-max over a background score and `GatedScores`, then a CRF.

    Args:
        scales: factors of the image size; each has its mirror image.
        background: score of the background; the release's command line does not reach its CRF, which uses
            0.17 in any case.
        confidence: probability of a given label in the CRF; the rest is shared by all other labels.
        crf: parameters that differ from the release's; None for no CRF.
    """

    kind = "stream"

    def __init__(
        self,
        scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0),
        background: float = 0.17,
        confidence: float = 0.7,
        crf: Mapping[str, Any] | None = None,
    ) -> None:
        self.scales = tuple(scales)
        self.background, self.confidence = background, confidence
        self.parameters = None if crf is None else LABEL_CRF.updated(crf)

    def predict(
        self, image: Image, model: torch.nn.Module, device: torch.device | str
    ) -> dict[str, npt.NDArray[Any]]:
        """`label` (H, W) uint8 of an image (H, W, 3) uint8 RGB, and `classes`, the number of labels."""
        stacks = [scale_flip_stack(image, scale) for scale in self.scales]
        scores = fused_scores(model, stacks, (image.shape[0], image.shape[1]), device)
        label = predicted(scores, self.background).to(torch.uint8)
        return {"label": label.cpu().numpy(), "classes": np.asarray(len(scores) + 1)}

    def __call__(self, image: Image, scores: Mapping[str, npt.NDArray[Any]]) -> Mask:
        """Mask of an image (H, W, 3) uint8 RGB from what `predict` made of it."""
        label: Mask = scores["label"]
        if self.parameters is None:
            return label
        classes = int(scores["classes"])
        return crf_from_labels(image, label, classes, self.confidence, self.parameters)[0].astype(np.uint8)


def predicted(scores: Tensor, background: float) -> Tensor:
    """Labels (H, W) of class scores (K - 1, H, W) against a constant background score, which wins ties."""
    return F.pad(scores, (0, 0, 0, 0, 1, 0), value=background).argmax(0)
