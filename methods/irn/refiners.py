"""The two steps of IRN that the `refine` stage runs; the training of IRNet lies between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from harness.ops.crf import Image
from harness.ops.crf_refiner import Mask, Scores
from harness.registry import REFINERS
from methods.irn.model import IRNet
from methods.irn.refine import IR_LABEL_CRF, confident_label, edge_map, semantic_label


@REFINERS.register_module()
class IRLabel:
    """CAMs to the confident labels that IRNet is trained on (spec B.2).

    Args:
        conf_fg: background score that decides on foreground.
        conf_bg: background score that decides on background.
        gt_prob: confidence of the CRF in its input.
        crf: parameters of the CRF that differ from the release's.
    """

    kind = "cpu"

    def __init__(
        self,
        conf_fg: float = 0.30,
        conf_bg: float = 0.05,
        gt_prob: float = 0.7,
        crf: Mapping[str, Any] | None = None,
    ) -> None:
        self.conf_fg = conf_fg
        self.conf_bg = conf_bg
        self.gt_prob = gt_prob
        self.crf = IR_LABEL_CRF.updated(crf or {})

    def __call__(self, image: Image, scores: Scores) -> Mask:
        """Confident labels of an image (H, W, 3) uint8 RGB from its `keys` and `high_res`."""
        return confident_label(
            image,
            scores["high_res"],
            scores["keys"],
            conf_fg=self.conf_fg,
            conf_bg=self.conf_bg,
            gt_prob=self.gt_prob,
            crf=self.crf,
        )


@REFINERS.register_module()
class IRNRandomWalk:
    """CAMs to pseudo masks by a random walk over the edges that IRNet finds (spec B.8).

    Args:
        beta: exponent of the affinities.
        exp_times: binary logarithm of the number of steps.
        radius: pairs are shorter than this many cells of 4 pixels.
        background: background score in the arg-max.
        pad_to: smallest input size of the network.
    """

    kind = "model"

    def __init__(
        self,
        beta: float = 10,
        exp_times: int = 8,
        radius: int = 5,
        background: float = 0.25,
        pad_to: int = 512,
    ) -> None:
        self.beta = beta
        self.exp_times = exp_times
        self.radius = radius
        self.background = background
        self.pad_to = pad_to

    def __call__(self, image: Image, scores: Scores, model: IRNet, device: torch.device | str) -> Mask:
        """Pseudo mask of an image (H, W, 3) uint8 RGB from its `keys` and `cam`, with IRNet on `device`."""
        keys, (height, width) = scores["keys"], image.shape[:2]
        if not len(keys):  # nothing to spread, so the network need not run
            return semantic_label(torch.empty(0), torch.empty(0), keys, (height, width))
        return semantic_label(
            torch.as_tensor(scores["cam"], device=device),
            edge_map(model, image, device, self.pad_to),
            keys,
            (height, width),
            background=self.background,
            radius=self.radius,
            beta=self.beta,
            exp_times=self.exp_times,
        )
