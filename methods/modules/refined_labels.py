"""Pseudo labels of class maps, refined by the colours of the image between a high and a low background.

Source: spec `mcc`, section 2.4 (ToCo and MCC, with PAR), and spec `rtc`, section 5.8 (RTC, with VARM). Class
maps are *valid* when those of absent classes are 0. In the shapes, C counts classes without background, P
those of the image that has most of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.palette import IGNORE
from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from harness.ops.pixel_adaptive import PixelAdaptive


@dataclass(frozen=True)
class Thresholds:
    """Up to `low` a pixel is background, above `high` it is foreground, between them undecided."""

    low: float = 0.25
    high: float = 0.7


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear (align_corners false): (B, C, h, w) to (B, C, *size)."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def stored_image(inputs: Tensor, *, truncate: bool = True) -> Tensor:
    """Normalised images (B, 3, H, W) back in [0, 255].

    Args:
        inputs: normalised by ImageNet's mean and deviation.
        truncate: cut fractions off, as bytes do; about 4 % of the values lose a grey level to rounding noise.
    """
    mean, deviation = (
        inputs.new_tensor([255 * value for value in values]).view(3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    image = inputs * deviation + mean
    return image.to(torch.uint8).to(inputs.dtype) if truncate else image


def present_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (B, P) of the classes that images have, ascending, and which are real (B, P) bool; P >= 1.

    Args:
        labels: (B, C) multi-hot.
    """
    present = labels > 0
    counts = present.sum(1)
    order = (~present).to(torch.uint8).argsort(dim=1, stable=True)[:, : max(int(counts.max()), 1)]
    return order, torch.arange(order.shape[1], device=labels.device) < counts[:, None]


def refined_labels(
    image: Tensor,
    valid: Tensor,
    labels: Tensor,
    content: Tensor,
    thresholds: Thresholds,
    refine: PixelAdaptive,
) -> Tensor:
    """(B, H, W) int64 pseudo labels: class maps against a high and a low background, refined by the image.

    Only what is background against both is background; what is so against the high one alone is undecided.
    Both stacks are refined together, since the affinities come from the image alone.

    Args:
        image: (B, 3, H, W) in [0, 1].
        valid: (B, C, H, W) class maps.
        labels: (B, C) multi-hot.
        content: (B, H, W) bool, where the image is.
        thresholds: the two constant backgrounds.
        refine: at half the size.
    """
    size = (valid.shape[-2], valid.shape[-1])
    half = (size[0] // 2, size[1] // 2)
    order, real = present_classes(labels)
    maps = resize(valid.gather(1, order[..., None, None].expand(-1, -1, *size)), half)
    refined = refine(
        resize(image, half),
        torch.cat([_probabilities(maps, real, level) for level in (thresholds.high, thresholds.low)], dim=1),
    )
    against_high, against_low = (_winners(resize(stack, size), order) for stack in refined.chunk(2, dim=1))
    found = against_high.masked_fill((against_high == 0) & (against_low != 0), IGNORE)
    return found.masked_fill(~content, IGNORE)


def _probabilities(maps: Tensor, real: Tensor, background: float) -> Tensor:
    """Softmax over a constant background and the real ones of maps (B, P, h, w): (B, 1 + P, h, w)."""
    scores = maps.masked_fill(~real[..., None, None], -torch.inf)
    return torch.cat([torch.full_like(maps[:, :1], background), scores], dim=1).softmax(1)


def _winners(stack: Tensor, order: Tensor) -> Tensor:
    """Labels (B, H, W) of the best channel of (B, 1 + P, H, W), whose classes are `order` (B, P)."""
    names = F.pad(order + 1, (1, 0))
    winner = stack.argmax(1)
    return names.gather(1, winner.flatten(1)).view(winner.shape)
