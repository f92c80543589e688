"""The saliency loss of EPS.

Source: Lee, Lee, Lee, Shim, "Railroad is not a Train: Saliency as Pseudo-pixel Supervision for Weakly
Supervised Semantic Segmentation", CVPR 2021, as released with HSC (spec `hsc`, section 5.2). Background is
the last channel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_MARGIN = 1e-4  # per pixel, in the denominator of the overlap


class SaliencyLoss(NamedTuple):
    """The loss and the maps that it came from.

    Attributes:
        loss: scalar.
        foreground, background: (N, 1, h, w), summed probabilities of either side.
        predicted: (N, 1, h, w), the saliency that the CAM stands for.
        overlap: (N, C - 1), part of each class's area that is salient.
    """

    loss: Tensor
    foreground: Tensor
    background: Tensor
    predicted: Tensor
    overlap: Tensor


def saliency_loss(cam: Tensor, saliency: Tensor, labels: Tensor, *, tau: float, alpha: float) -> SaliencyLoss:
    """Mean squared error between a saliency map and the one that the CAM stands for.

    A class whose area is salient by less than `tau` counts as background.

    Args:
        cam: (N, C, h, w) logits, background last. (HSC also gives refined CAMs in [0, 1], whose rounded
            softmax is 0 everywhere, so that every class counts as background: as released.)
        saliency: (N, 1, H, W) in [0, 1].
        labels: (N, C - 1) multi-hot, without background.
        tau: smallest salient part of a foreground class.
        alpha: weight of the foreground against the complement of the background.
    """
    target = F.interpolate(saliency, size=cam.shape[-2:], mode="nearest")
    probability = cam.softmax(1)
    classes, background = probability[:, :-1], probability[:, -1:]
    with torch.no_grad():
        area = classes.round()
        salient = (area * target.round()).sum((2, 3))
        overlap = salient / (area + _MARGIN).sum((2, 3))
        valid = (overlap > tau).float()
    in_front = (classes * (labels * valid)[:, :, None, None]).sum(1, keepdim=True)
    behind = background + (classes * (labels * (1 - valid))[:, :, None, None]).sum(1, keepdim=True)
    predicted = alpha * in_front + (1 - alpha) * (1 - behind)
    return SaliencyLoss(F.mse_loss(predicted, target), in_front, behind, predicted, overlap)
