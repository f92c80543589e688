"""Local crops of ToCo: where they are cut out, and whether they show what the image is labelled with.

Source: spec `mcc`, section 13.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.toco.labels import UNCERTAIN

NEGATIVE = 0.2  # highest mean of the region of interest in a view that counts as background


def crop_corners(
    region: Tensor, count: int, side: int, permutation: Callable[[int], Tensor] = torch.randperm
) -> Tensor:
    """(B, count, 2) int64 row and column of the crops' top left corners.

    Centres are drawn among the positions that are not certainly of a class, or among all where these are too
    few, so that no crop leaves the image.

    Args:
        region: (B, H, W) of `labels.interest`.
        count: crops per image.
        side: of a crop, at most H and W.
        permutation: of so many positions in raster order, of which the first `count` are taken.
    """
    margin = side // 2
    corners = []
    for image in region:
        inner = image[margin : image.shape[0] - margin, margin : image.shape[1] - margin]
        allowed = inner <= UNCERTAIN
        places = (allowed if int(allowed.sum()) >= count else torch.ones_like(allowed)).nonzero()
        corners.append(places[permutation(len(places))[:count].to(places.device)])
    return torch.stack(corners)


def cut(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """(V, B, ..., side, side) crops of (B, ..., H, W) at corners (B, V, 2)."""
    rows = [
        torch.stack([image[..., r : r + side, c : c + side] for r, c in places])
        for image, places in zip(images, corners.tolist(), strict=True)
    ]
    return torch.stack(rows, dim=1)


def positives(region: Tensor) -> Tensor:
    """(B, V) bool: views (V, B, h, w) of the region of interest that are not background."""
    return (region.float().mean((-2, -1)) > NEGATIVE).T
