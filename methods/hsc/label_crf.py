"""The CRF on the pseudo labels of a training step (spec `hsc`, section 5.4)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from harness.ops.crf import CRFParameters, crf_from_labels

GT_PROB = 0.7
PARAMETERS = CRFParameters(
    iterations=10,
    gaussian_sxy=3,
    gaussian_compat=3,
    bilateral_sxy=50,
    bilateral_srgb=5,
    bilateral_compat=10,
)


def refine_labels(images: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """CRF on the label maps of all views of a batch.

    Args:
        images: (n, 3, h, w) normalised with ImageNet's mean and deviation; the same for all views.
        labels: (views, n, h, w) int64.
        num_labels: labels there are.

    Returns:
        (views, n, h, w) int64 on the labels' device.
    """
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1) * 255
    deviation = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1) * 255
    pixels = (images * deviation + mean).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    given = labels.cpu().numpy()
    refined = [
        np.stack(
            [
                crf_from_labels(image, label, num_labels, GT_PROB, PARAMETERS)[0]
                for image, label in zip(pixels, view, strict=True)
            ]
        )
        for view in given
    ]
    return torch.from_numpy(np.stack(refined)).to(labels.device)
