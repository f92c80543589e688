"""What the segmentation branch of RTC learns from (spec `rtc`, sections 5.8 and 5.9)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.palette import IGNORE
from harness.ops.pixel_adaptive import PixelAdaptive
from methods.modules.equivariance import max_norm, resize
from methods.modules.refined_labels import Thresholds, refined_labels, stored_image


@torch.no_grad()
def pseudo_masks(
    image: Tensor,
    refined: Tensor,
    labels: Tensor,
    content: Tensor,
    thresholds: Thresholds,
    refine: PixelAdaptive,
) -> Tensor:
    """(n, H, W) int64 pseudo masks, 255 where undecided or outside of the image.

    Args:
        image: (n, 3, H, W) normalised.
        refined: (n, K, h, w) refined CAMs on the trunk's grid, background first.
        labels: (n, K - 1) multi-hot.
        content: (n, H, W) bool, where the image is.
        thresholds: background scores between which a pixel is undecided.
        refine: at half the size.
    """
    valid = max_norm(refined)[:, 1:] * labels[:, :, None, None]
    maps = resize(valid, image.shape[-2:])
    pixels = stored_image(image, truncate=False) / 255
    return refined_labels(pixels, maps, labels, content, thresholds, refine)


def balanced_cross_entropy(logits: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per image (n,), in which a class counts the more the less of the image it takes.

    The mean is over all pixels, undecided ones included, which add nothing. An image whose mask lacks one of
    its classes, or the background, has no loss.

    Args:
        logits: (n, K, h, w), resized to the masks.
        masks: (n, H, W) int64 with 255.
        labels: (n, K - 1) multi-hot.
    """
    classes = logits.shape[1]
    decided = masks != IGNORE
    pixels = torch.zeros(len(masks), classes, device=logits.device)
    pixels.scatter_add_(1, masks.masked_fill(~decided, 0).flatten(1), decided.flatten(1).to(pixels.dtype))
    total = pixels.sum(1, keepdim=True)
    weights = (total - pixels) / (1 + total)
    entropy = F.cross_entropy(
        resize(logits, masks.shape[-2:]), masks, ignore_index=IGNORE, reduction="none"
    ).flatten(1)
    of_pixels = weights.gather(1, masks.masked_fill(~decided, 0).flatten(1)) * decided.flatten(1)
    complete = (pixels > 0).sum(1) == 1 + labels.sum(1)
    return (of_pixels * entropy).mean(1) * complete
