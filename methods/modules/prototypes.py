"""What PPC and RTC share: pseudo labels from refined CAMs, prototypes of classes, pixels against prototypes.

Sources: Du, Fu, Liu, Wang, "Weakly Supervised Semantic Segmentation by Pixel-to-Prototype Contrast", CVPR
2022; Wang, Zhang, Yan, "Boosting Weakly-Supervised Image Segmentation via Representation, Transform, and
Compensator", arXiv 2309.00871 (spec `rtc`, sections 5.3 to 5.6 and 8.2), both as released.

In the shapes, n is the batch, K the channels with background, which is the first, S = h * w the pixels of a
map, D the width of the embedding and k the confident pixels of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.modules.equivariance import EPS

Pair = tuple[Tensor, Tensor]  # one of each view

BackgroundChoice = Literal["first", "topk", "label"]
BackgroundPixels = Callable[[Tensor, Tensor, int], Tensor]


class Confident(NamedTuple):
    """The pixels of a batch at which each class is most active.

    Attributes:
        weights: (K, k) values of the CAM.
        vectors: (K, k, D) features.
    """

    weights: Tensor
    vectors: Tensor


def over_batch(maps: Tensor) -> Tensor:
    """(n, K, h, w) to (K, n * S), in the order image, row, column."""
    return maps.transpose(0, 1).flatten(1)


def normalised_cam(refined: Tensor, background_score: float, content: Tensor | None = None) -> Tensor:
    """Stretch every channel of (n, K, h, w) refined CAMs; a dead channel becomes -1, as released.

    Args:
        refined: from the pixel correlation module.
        background_score: constant of the background channel.
        content: (n, h, w) bool, the pixels whose extremes count; None: all of them.
    """
    maps = F.relu(refined)
    inside = torch.ones_like(maps[:, :1], dtype=torch.bool) if content is None else content[:, None]
    high = maps.masked_fill(~inside, 0).amax((2, 3), keepdim=True)
    low = maps.masked_fill(~inside, torch.inf).amin((2, 3), keepdim=True)
    maps = torch.where(maps < low + EPS, 0.0, maps)
    maps = (maps - low - EPS) / (high - low + EPS)
    maps[:, 0] = background_score
    return maps


def pseudo_labels(cam: Tensor, labels: Tensor) -> Tensor:
    """(n, h, w) int64: the best class of the image per pixel, or background (0).

    Args:
        cam: (n, K, h, w) of `normalised_cam`.
        labels: (n, K) multi-hot, background set.
    """
    return (cam * labels[:, :, None, None]).argmax(1)


def top_positions(scores: Tensor, count: int) -> Tensor:
    """Positions (..., count) of the largest of (..., M) float32 scores; of equal ones the first.

    What a stable sort gives on any device, without sorting all: a whole number per score orders as the score
    does and breaks ties by the position, so that top-k has no choice left.
    """
    total = scores.shape[-1]
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0, since -0.0 is as large as 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    keys = ordered * total - torch.arange(total, device=scores.device)
    return (-keys.topk(count).values) % total


def _first(scores: Tensor, labels: Tensor, count: int) -> Tensor:
    return top_positions(scores, count)


def _topk(scores: Tensor, labels: Tensor, count: int) -> Tensor:
    return scores.topk(count).indices


def _labelled(scores: Tensor, labels: Tensor, count: int) -> Tensor:
    """Pixels that are labelled background, evenly spread over the batch; the first ones if there are none."""
    background = labels == 0
    total = background.sum()
    order = (~background).to(torch.uint8).sort(stable=True).indices
    places = torch.arange(count, device=scores.device)
    return order[torch.where(total > 0, places * total // count, places)]


BACKGROUND_PIXELS: dict[BackgroundChoice, BackgroundPixels] = {
    "first": _first,
    "topk": _topk,
    "label": _labelled,
}
"""How the pixels of the background channel are chosen, whose score is the same everywhere.

From (n * S,) scores, (n * S,) pseudo labels and k to (k,) positions. The releases take what top-k returns for
ties, which depends on device and library; `first` is the same everywhere, `label` looks at the image.
"""


def confident_pixels(
    cam: Tensor,
    labels: Tensor,
    features: Tensor,
    background: BackgroundPixels,
    content: Tensor | None = None,
) -> Confident:
    """Choose the best pixels of the batch for every class, an eighth of a map's number.

    Args:
        cam: (n, K, h, w) of `normalised_cam`.
        labels: (n, h, w) of `pseudo_labels`.
        features: (n, D, h, w), what is looked up at these pixels.
        background: one of `BACKGROUND_PIXELS`.
        content: (n, h, w) bool, the pixels that may be chosen; None: all of them.
    """
    count = cam.shape[-2] * cam.shape[-1] // 8
    scores = over_batch(cam)
    ranked = scores if content is None else scores.masked_fill(~content.flatten(), -torch.inf)
    positions = top_positions(ranked, count)
    positions[0] = background(ranked[0], labels.flatten(), count)
    size = cam.shape[-2] * cam.shape[-1]
    # Indexed where they lie: a copy with the channels last would take longer than these few rows.
    vectors = features.flatten(2).transpose(1, 2)[positions // size, positions % size]
    return Confident(scores.gather(1, positions), vectors)


def prototypes(confident: Confident) -> Tensor:
    """(K, D) unit vectors: means of the features of the confident pixels, weighted by the CAM."""
    weights, vectors = confident
    return F.normalize(torch.einsum("ck,ckd->cd", weights, vectors) / weights.sum(1, keepdim=True))


def inverse_lengths(flat: Tensor) -> Tensor:
    """(n, 1, S) of pixels (n, D, S), bounded as in `torch.nn.functional.normalize`."""
    return flat.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()


def cosines(features: Tensor, vectors: Tensor) -> Tensor:
    """(n, M, S) cosines of all pixels with unit vectors.

    Products are divided by the pixels' lengths, which are much fewer than the values of the features.

    Args:
        features: (n, D, h, w).
        vectors: (M, D) or (n, M, D), a set for each image.
    """
    flat = features.flatten(2)
    return (vectors @ flat) * inverse_lengths(flat)


def log_probabilities(features: Tensor, tables: Sequence[Tensor], temperature: float) -> list[Tensor]:
    """Per table of prototypes (K, D), (n, K, S) log-probabilities of all pixels; one product for all."""
    similarity = cosines(features, torch.cat(list(tables))) / temperature
    return [part.log_softmax(1) for part in similarity.split([len(table) for table in tables], dim=1)]


def contrast(log_probability: Tensor, labels: Tensor, content: Tensor | None = None) -> Tensor:
    """Mean of -log p of the pixels' own prototypes; a scalar.

    Args:
        log_probability: (n, K, S).
        labels: (n, h, w) pseudo labels.
        content: (n, h, w) bool, the pixels that count; None: all of them.
    """
    targets = labels if content is None else labels.masked_fill(~content, -100)
    return F.nll_loss(log_probability, targets.flatten(1))
