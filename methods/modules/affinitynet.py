"""AffinityNet: how alike nearby positions are, the step from CAMs to pseudo masks of SEAM and PPC.

Source: Ahn, Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
Semantic Segmentation", CVPR 2018, as the releases of SEAM and PPC have it (spec `rtc`, section 8.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from harness.conversion import Conversion
from harness.ops.affinity import pair_labels, search_geometry
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.modules.pair_losses import EPSILON, mean_over_pairs
from methods.modules.resnet38 import ResNet38

_HEADS = ("f8_3", "f8_4", "f8_5", "f9")


class _PairAffinity(torch.autograd.Function):
    """exp(-mean |difference|) of each pair; the differences are made again for the backward pass."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, radius: int) -> Tensor:
        geometry = search_geometry(radius)
        source = geometry.window(features, (0, 0))
        differences = [
            (geometry.window(features, offset) - source).abs().mean(1) for offset in geometry.destinations
        ]
        affinity = torch.stack(differences, dim=1).neg_().exp_()
        ctx.save_for_backward(features, affinity)
        ctx.radius = radius
        return affinity

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        features, affinity = ctx.saved_tensors
        geometry = search_geometry(ctx.radius)
        source, total = geometry.window(features, (0, 0)), torch.zeros_like(features)
        weights = gradients[0] * affinity / features.shape[1]
        for pair, offset in enumerate(geometry.destinations):
            signed = (geometry.window(features, offset) - source).sign_().mul_(weights[:, pair, None])
            geometry.window(total, offset).sub_(signed)
            geometry.window(total, (0, 0)).add_(signed)
        return total, None


def pair_affinity(features: Tensor, radius: int) -> Tensor:
    """exp(-mean over the channels of |destination - source|) of each pair, differentiable.

    Args:
        features: (N, C, h, w).
        radius: search radius.

    Returns:
        (N, pairs, rows, columns) in the order and on the grid of `search_geometry`.

    Raises:
        ValueError: the map is too small for the radius.
    """
    affinity: Tensor = _PairAffinity.apply(features, radius)
    return affinity


@dataclass(frozen=True)
class AffinityLosses:
    """The terms, scalars: affinity should be 1 between equal labels and 0 between different ones."""

    background: Tensor
    foreground: Tensor
    negative: Tensor

    @property
    def total(self) -> Tensor:
        return self.background / 4 + self.foreground / 4 + self.negative / 2


def affinity_losses(affinity: Tensor, label: Tensor, *, radius: int, num_classes: int) -> AffinityLosses:
    """All terms.

    Args:
        affinity: (N, pairs, rows, columns).
        label: (N, h, w) on the grid of the features; `num_classes` and more are ignored.
        radius: search radius.
        num_classes: number of classes, background included.
    """
    background, foreground, negative = pair_labels(label, radius, num_classes)
    if_alike, if_different = -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)
    return AffinityLosses(
        background=mean_over_pairs(if_alike, background),
        foreground=mean_over_pairs(if_alike, foreground),
        negative=mean_over_pairs(if_different, negative),
    )


@MODELS.register_module()
class AffinityNet(BaseModel):
    """Wide ResNet-38, three of its stages reduced and joined, and the affinities of nearby positions.

    Args:
        num_classes: classes of the labels, background included; labels from it on are ignored.
        backbone: config of a `ResNet38`.
        radius: search radius in cells of 8 pixels.
    """

    def __init__(self, num_classes: int, backbone: dict[str, Any], *, radius: int = 5) -> None:
        super().__init__()
        self.num_classes, self.radius = num_classes, radius
        self.backbone = MODELS.build(backbone)
        conv4, conv5 = self.backbone.conv4_channels, self.backbone.conv5_channels
        conv6 = self.backbone.out_channels
        joined = conv4 // 8 + conv5 // 8 + conv6 // 16
        self.f8_3 = nn.Conv2d(conv4, conv4 // 8, 1, bias=False)
        self.f8_4 = nn.Conv2d(conv5, conv5 // 8, 1, bias=False)
        self.f8_5 = nn.Conv2d(conv6, conv6 // 16, 1, bias=False)
        self.f9 = nn.Conv2d(joined, joined, 1, bias=False)
        for reduction in (self.f8_3, self.f8_4, self.f8_5):
            nn.init.kaiming_normal_(reduction.weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def features(self, inputs: Tensor) -> Tensor:
        """(N, C, H/8, W/8) of images (N, 3, H, W), a side that 8 does not divide rounded up."""
        stages = self.backbone(inputs)
        reduced = [
            F.elu(self.f8_3(stages.conv4)),
            F.elu(self.f8_4(stages.conv5)),
            F.elu(self.f8_5(stages.conv6)),
        ]
        return F.elu(self.f9(torch.cat(reduced, dim=1)))

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses for inputs (N, 3, H, W) and labels (N, H/8, W/8)."""
        affinity = pair_affinity(self.features(inputs), self.radius)
        losses = affinity_losses(affinity, labels, radius=self.radius, num_classes=self.num_classes)
        return {
            "loss_affinity": losses.total,
            "affinity_background": losses.background.detach(),
            "affinity_foreground": losses.foreground.detach(),
            "affinity_negative": losses.negative.detach(),
        }

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives features, `loss` a dict, `predict` sets `affinity`.

        Labels are in `gt_sem_seg`, (1, H/8, W/8); `affinity` is (pairs, rows, columns).

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.features(inputs)
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
            return self.loss(inputs, labels.to(inputs.device))
        if mode == "predict":
            affinity = pair_affinity(self.features(inputs), self.radius)
            for sample, values in zip(data_samples, affinity, strict=True):
                sample.affinity = PixelData(data=values)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released AffinityNet onto `AffinityNet`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    trunk = {name: f"backbone.{name}" for name in expected_state(ResNet38)}
    expected = expected_state(lambda: AffinityNet(21, {"type": "ResNet38"}))
    return account(strip_module_prefix(state), trunk | {name: name for name in _HEADS}, expected)
