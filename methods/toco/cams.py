"""Class maps of a whole image over scales and mirror images (spec `mcc`, section 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.modules.refined_labels import resize

EPS = 1e-5
RawMaps = Callable[[Tensor], Tensor]


def multi_scale_maps(
    raw_maps: RawMaps,
    image: Tensor,
    scales: Sequence[float],
    labels: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Sum over scales of the larger one of image and mirror after ReLU, each class stretched to [0, 1].

    Args:
        raw_maps: (n, 3, h, w) images to maps (L, n, C, h', w') of L layers, before ReLU.
        image: (B, 3, H, W) normalised.
        scales: factors of the image size.
        labels: (B, C) multi-hot; maps of absent classes are 0 and cost nothing. None: all classes.
        known: raw maps of the image itself at scale 1, which are then not computed again.

    Returns:
        (L, B, C, H, W).
    """
    size = (image.shape[-2], image.shape[-1])
    total: Tensor | None = None
    for scale in scales:
        scaled = image if scale == 1 else resize(image, (int(size[0] * scale), int(size[1] * scale)))
        if scale == 1 and known is not None:
            plain, mirror = known, raw_maps(scaled.flip(-1))
        else:
            plain, mirror = raw_maps(torch.cat([scaled, scaled.flip(-1)])).chunk(2, dim=1)
        present = torch.ones(plain.shape[1:3], dtype=torch.bool, device=plain.device)
        if labels is not None:
            present = labels.to(plain.device) > 0
        if total is None:
            total = plain.new_zeros(len(plain), int(present.sum()), *size)
        if total.numel():
            pair = [resize(maps[:, present], size) for maps in (plain, mirror)]
            total += F.relu(torch.maximum(pair[0], pair[1].flip(-1)))
    if total is None:
        raise ValueError("class maps need at least one scale")
    total -= total.amin((-2, -1), keepdim=True) if total.numel() else 0
    total /= (total.amax((-2, -1), keepdim=True) + EPS) if total.numel() else 1
    maps = total.new_zeros(len(total), *present.shape, *size)
    maps[:, present] = total
    return maps
