"""The two steps around AffinityNet: CRFs on CAMs, which it learns from, and the random walk.

Source: spec `rtc`, sections 8.1 to 8.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from harness.data.pixels import normalise
from harness.ops.affinity import search_geometry
from harness.ops.crf import CRFParameters, Image, crf_from_labels, crf_from_probabilities
from harness.ops.crf_refiner import (
    ALPHA_CRF,
    LABEL_CONFIDENCE,
    Mask,
    Scores,
    channel_to_label,
    with_alpha_background,
    with_background,
)
from harness.ops.random_walk import pair_transition, propagate
from harness.registry import REFINERS
from methods.modules.affinity_crop import STRIDE
from methods.modules.affinitynet import AffinityNet, pair_affinity

Floats = NDArray[np.float32]
AFFINITY_CRF = ALPHA_CRF.updated({"iterations": 10})
LABEL_AFFINITY_CRF = AFFINITY_CRF.updated({"rows_first": True})


def label_crf(
    image: Image,
    maps: Floats,
    keys: NDArray[np.integer],
    alpha: float,
    num_classes: int,
    parameters: CRFParameters = LABEL_AFFINITY_CRF,
) -> tuple[Mask, Floats]:
    """CRF on the arg-max of CAMs and a background of (1 - best class)^alpha, as PPC has it (spec 8.2).

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (K, H, W) float32 CAMs of the classes `keys`.
        alpha: the smaller, the more background.
        num_classes: labels of the CRF, background included; those that the image has not share its doubts.

    Returns:
        The arg-max (H, W) before the CRF and its marginals (num_classes, H, W).
    """
    label = channel_to_label(with_alpha_background(maps, alpha).argmax(0), keys)
    return label, crf_from_labels(image, label, num_classes, LABEL_CONFIDENCE, parameters)[1]


@REFINERS.register_module()
class AffinityCRF:
    """CRFs on CAMs with much and with little background: soft masks `keys`, `low` and `high`, float16.

    Args:
        low, high: alpha; background is (1 - best class)^alpha, so the lower one has more of it.
        unary: what the CRF begins with: the maps (`scores`, SEAM) or their arg-max (`labels`, PPC).
        num_classes: labels of the CRF on labels, background included.
        crf: parameters that differ from the release's.
    """

    kind = "cpu"
    output = "soft_masks"

    def __init__(
        self,
        low: float = 4,
        high: float = 24,
        unary: Literal["scores", "labels"] = "scores",
        num_classes: int = 21,
        crf: Mapping[str, Any] | None = None,
    ) -> None:
        self.low, self.high, self.unary, self.num_classes = low, high, unary, num_classes
        usual = LABEL_AFFINITY_CRF if unary == "labels" else AFFINITY_CRF
        self.parameters = usual.updated(crf or {})

    def __call__(self, image: Image, scores: Scores) -> dict[str, NDArray[Any]]:
        """`keys` (K,), `low` and `high` (K + 1, H, W) of an image (H, W, 3) uint8 RGB."""
        keys, maps = scores["keys"], scores["high_res"]
        made = {name: self._marginals(image, maps, keys, a) for name, a in self._alphas().items()}
        return {"keys": keys, **{name: values.astype(np.float16) for name, values in made.items()}}

    def _alphas(self) -> dict[str, float]:
        return {"low": self.low, "high": self.high}

    def _marginals(self, image: Image, maps: Floats, keys: NDArray[np.integer], alpha: float) -> Floats:
        if not len(keys):
            return np.ones((1, *image.shape[:2]), np.float32)
        if self.unary == "labels":
            _, marginals = label_crf(image, maps, keys, alpha, self.num_classes, self.parameters)
            return marginals[[0, *(keys + 1)]]
        return crf_from_probabilities(image, with_alpha_background(maps, alpha), self.parameters)[1]


def walked_scores(
    features: Tensor, scores: Tensor, *, radius: int = 5, beta: float = 8, exp_times: int = 6
) -> Tensor:
    """Class scores after 2^exp_times steps along the affinities of features.

    Args:
        features: (C, h, w).
        scores: (K, h, w) on the same grid.
        radius: pairs are shorter than this many cells.
        beta: exponent of the affinities.
        exp_times: binary logarithm of the number of steps.

    Returns:
        (K, h, w); the scores themselves on a map that no pair fits into.
    """
    geometry, (height, width) = search_geometry(radius), features.shape[-2:]
    if height <= geometry.reach or width <= 2 * geometry.reach:
        return scores
    affinity = pair_affinity(features[None], radius)[0]
    step = pair_transition(affinity, (height, width), radius, beta)
    return propagate(scores, step, 2**exp_times)


@REFINERS.register_module()
class AffinityRandomWalk:
    """CAMs to pseudo masks by a random walk over the affinities that AffinityNet finds.

    Args:
        beta: exponent of the affinities.
        exp_times: binary logarithm of the number of steps.
        alpha: background is (1 - best class)^alpha, as in SEAM.
        background: a constant in its place, as in PPC; None for alpha.
    """

    kind = "model"

    def __init__(
        self, beta: float = 8, exp_times: int = 6, alpha: float = 6, background: float | None = None
    ) -> None:
        self.beta, self.exp_times, self.alpha, self.background = beta, exp_times, alpha, background

    def with_background(self, maps: Floats) -> Floats:
        """Class maps (K, H, W) behind their background: (K + 1, H, W)."""
        if self.background is None:
            return with_alpha_background(maps, self.alpha)
        return with_background(maps, self.background)

    def __call__(self, image: Image, scores: Scores, model: AffinityNet, device: torch.device | str) -> Mask:
        """Pseudo mask of an image (H, W, 3) uint8 RGB from its `keys` and `high_res`."""
        keys, (height, width) = scores["keys"], image.shape[:2]
        if not len(keys):  # nothing to spread, so the network need not run
            return np.zeros((height, width), np.uint8)
        padded = [math.ceil(side / STRIDE) * STRIDE for side in (height, width)]
        margin = (0, padded[1] - width, 0, padded[0] - height)
        inputs = F.pad(torch.from_numpy(normalise(image))[None].to(device), margin)
        maps = torch.from_numpy(self.with_background(scores["high_res"])).to(device)
        walked = walked_scores(
            model(inputs, mode="tensor")[0],
            F.avg_pool2d(F.pad(maps, margin), STRIDE),
            radius=model.radius,
            beta=self.beta,
            exp_times=self.exp_times,
        )
        large = F.interpolate(walked[None], size=padded, mode="bilinear", align_corners=False)[0]
        return channel_to_label(large[:, :height, :width].argmax(0).cpu().numpy(), keys)
