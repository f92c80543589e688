"""The compensator of RTC, and the structure loss that brings it to the plain CAM.

Source: spec `rtc`, sections 5.5 and 5.7. In the shapes, n is the batch, K the channels with background, which
is the first, D the width of the embedding and k the confident pixels of a class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.modules.equivariance import max_norm, resize
from methods.modules.prototypes import Confident, cosines
from methods.modules.refined_labels import present_classes


def compensate(cam: Tensor, features: Tensor, confident: Confident, chosen: Tensor) -> Tensor:
    """Add to a CAM, class by class, what each pixel finds by attention to the class's confident pixels.

    The release compensates all classes of the batch in all images, and multiplies by the image's labels
    later. An image has few of them, and only their maps are computed here, all in one product.

    Args:
        cam: (n, K, h, w) of `normalised_cam`.
        features: (n, D, h, w) of the same images, of the other view.
        confident: of the view that the CAM belongs to.
        chosen: (n, K) bool, which classes to compensate in which image; others are left as they are.

    Returns:
        (n, K, h, w).
    """
    weights, vectors = confident
    classes, real = present_classes(chosen)  # (n, P)
    keys = F.normalize(vectors, dim=-1)[classes]
    attention = cosines(features, keys.flatten(1, 2)).unflatten(1, keys.shape[1:3]).softmax(2)
    found = torch.einsum("npks,npk->nps", attention, weights[classes] * real[..., None])
    return cam.flatten(2).scatter_add(1, classes[..., None].expand_as(found), found).view_as(cam)


def mean_of_largest(values: Tensor, part: float) -> Tensor:
    """Mean of the largest `part` of each row of (n, M), then of the rows; a scalar.

    The smaller side is selected: most of a row is its sum less the rest.
    """
    total = values.shape[1]
    count = int(total * part)
    if 2 * count <= total:
        return values.topk(count, dim=1).values.mean()
    rest = values.topk(total - count, dim=1, largest=False).values
    return ((values.sum(1) - rest.sum(1)) / count).mean()


def _winner_only(maps: Tensor) -> Tensor:
    """Keep the best class of a pixel, and what ties with it: (n, K - 1, h, w) to the same."""
    return maps * (maps == maps.amax(1, keepdim=True))


def structure_loss(cam: Tensor, compensated: Tensor, labels: Tensor, hardest: float = 0.8) -> Tensor:
    """Distance between a plain CAM and its compensated form, over the hardest entries; a scalar.

    Both are reduced to the best class per pixel. In the release the CAM was changed in place by then (spec
    section 11, quirk 2); here that reduction is explicit, and the gradient goes through what survives it.

    Args:
        cam: (n, K, h, w) as `EquivarianceLosses.maps` has it.
        compensated: (n, K, h', w').
        labels: (n, K) multi-hot, background set.
        hardest: part of the entries that count.
    """
    target = (resize(max_norm(compensated), cam.shape[-2:]) * labels[:, :, None, None])[:, 1:]
    difference = (_winner_only(target) - _winner_only(cam[:, 1:])).abs()
    return mean_of_largest(difference.flatten(1), hardest)


def class_relation(first: Tensor, second: Tensor, present: Tensor) -> Tensor:
    """Half the mean of -log(1 - cosine) between different classes of both views; logged, never optimised.

    Args:
        first, second: (K, D) prototypes of the views, unit vectors.
        present: (K,) bool; the mean is over ordered pairs of these classes.
    """
    pairs = present[:, None] & present & ~torch.eye(len(present), dtype=torch.bool, device=present.device)
    repulsion = -(1 - first @ second.T).log()
    return torch.where(pairs, repulsion, 0.0).sum() / pairs.sum().clamp_min(1) / 2
