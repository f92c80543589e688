"""IRNet: a frozen ResNet, an edge branch and a displacement branch.

Source: Ahn, Cho, Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR
2019 (arXiv 1904.05044), section 4; layer sizes as released (spec B.5).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from methods.irn.losses import irnet_losses

EDGE_GROUPS = 4


def shrink_factors(strides: Sequence[int]) -> tuple[int, ...]:
    """How much smaller than the stride-4 grid the five outputs of a `StageResNet` are.

    (1, 1, 2, 4, 4) for the released strides (2, 2, 2, 1) of stem, layer2, layer3 and layer4.
    """
    return (1, 1, *itertools.accumulate(strides[1:], operator.mul))


class Projection(nn.Module):
    """1x1 convolution without bias, group norm, bilinear enlargement, ReLU, in this order."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, enlarge: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels)
        self.enlarge = enlarge

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        if self.enlarge > 1:
            x = F.interpolate(x, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        return F.relu(x)


def concatenate(maps: Sequence[Tensor], like: Tensor) -> Tensor:
    """Maps cut at the right and bottom to the size of `like`, stacked along the channels."""
    height, width = like.shape[-2:]
    return torch.cat([x[..., :height, :width] for x in maps], dim=1)


class EdgeBranch(nn.Module):
    """Class-agnostic edge logit at stride 4 from all five backbone outputs.

    Args:
        in_channels: of the backbone outputs.
        width: channels per output; 32 as released.
        shrink: see `shrink_factors`.
    """

    def __init__(self, in_channels: Sequence[int], width: int, shrink: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            Projection(channels, width, EDGE_GROUPS, enlarge)
            for channels, enlarge in zip(in_channels, shrink)
        )
        self.classifier = nn.Conv2d(5 * width, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of the backbone to (N, 1, h, w)."""
        maps = [level(x) for level, x in zip(self.levels, features)]
        return self.classifier(concatenate(maps, like=maps[1]))


class DisplacementBranch(nn.Module):
    """Displacement (dy, dx) to the instance's centre in grid cells, at stride 4.

    Args:
        in_channels: of the backbone outputs.
        width: channels of the fused maps; 256 as released. The first two levels have 1/4 and 1/2 of it.
        shrink: see `shrink_factors`.
    """

    def __init__(self, in_channels: Sequence[int], width: int, shrink: Sequence[int]) -> None:
        super().__init__()
        widths = (width // 4, width // 2, width, width, width)
        groups = (8, 16, 16, 16, 16)
        # The last two outputs are first enlarged to the third's size, and their fusion to the second's.
        enlarge = [1, 1, 1, shrink[3] // shrink[2], shrink[4] // shrink[2]]
        self.levels = nn.ModuleList(map(Projection, in_channels, widths, groups, enlarge))
        self.fuse_deep = Projection(3 * width, width, 16, shrink[2])
        self.fuse_all = Projection(widths[0] + widths[1] + width, width, 16)
        self.regressor = nn.Conv2d(width, 2, 1, bias=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of the backbone to (N, 2, h, w)."""
        maps = [level(x) for level, x in zip(self.levels, features)]
        deep = self.fuse_deep(concatenate(maps[2:], like=maps[2]))
        return self.regressor(self.fuse_all(concatenate([*maps[:2], deep], like=maps[1])))


@MODELS.register_module()
class IRNet(BaseModel):
    """Inter-pixel relation network; see `docs/design.md`, "Models", for the modes of `forward`.

    Learning-rate groups: `displacement_branch` trains at ten times the rate of `edge_branch`; the backbone
    does not train.

    Args:
        num_classes: classes of the confident labels, background included; labels from it on are ignored.
        backbone: config of a `StageResNet` whose stem has stride 2.
        radius: search radius of the training pairs, in cells of 4 pixels.
        edge_width: channels per level of the edge branch.
        displacement_width: channels of the displacement branch.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        radius: int = 10,
        edge_width: int = 32,
        displacement_width: int = 256,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.radius = radius
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        # Every layer of a ResNet has twice the channels of the one before.
        deepest = self.backbone.out_channels
        in_channels = (self.backbone.conv1.out_channels, *(deepest // part for part in (8, 4, 2, 1)))
        shrink = shrink_factors(self.backbone.strides)
        self.edge_branch = EdgeBranch(in_channels, edge_width, shrink)
        self.displacement_branch = DisplacementBranch(in_channels, displacement_width, shrink)
        self.register_buffer("mean_shift", torch.zeros(2))

    def train(self, mode: bool = True) -> IRNet:
        """Switch the branches; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def edge_and_displacement(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Edge logit (N, 1, h, w) and displacement (N, 2, h, w) at stride 4 for inputs (N, 3, H, W).

        In evaluation mode the stored mean is subtracted from the displacement.
        """
        with torch.no_grad():
            features = self.backbone(inputs)
        displacement = self.displacement_branch(features)
        if not self.training:
            displacement = displacement - self.mean_shift.view(1, 2, 1, 1)
        return self.edge_branch(features), displacement

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses for inputs (N, 3, H, W) and confident labels (N, h, w) at stride 4; spec B.6."""
        edge_logit, displacement = self.edge_and_displacement(inputs)
        losses = irnet_losses(
            edge_logit, displacement, labels, radius=self.radius, num_classes=self.num_classes
        )
        return {
            "loss_affinity": losses.affinity,
            "loss_displacement": losses.displacement,
            "affinity_positive": losses.positive.detach(),
            "affinity_negative": losses.negative.detach(),
            "displacement_foreground": losses.displacement_foreground.detach(),
            "displacement_background": losses.displacement_background.detach(),
        }

    @torch.no_grad()
    def measure_mean_shift(self, batches: Iterable[Tensor]) -> Tensor:
        """Store the mean displacement over batches (N, 3, H, W), the average of the batches' means.

        Only instance labels need it (spec B.7); the semantic labels never use the displacement.

        Returns:
            (batches, 2) means per batch.
        """
        self.eval()
        self.mean_shift.zero_()
        means = torch.stack([self.edge_and_displacement(batch)[1].mean(dim=(0, 2, 3)) for batch in batches])
        self.mean_shift.copy_(means.mean(dim=0))
        return means

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode.

        - `tensor`: dict of `edge_logit` (N, 1, h, w) and `displacement` (N, 2, h, w);
        - `loss`: dict, from samples whose `gt_sem_seg` is the confident label at stride 4, (1, h, w);
        - `predict`: samples with `edge` (1, h, w), the probability, and `displacement` (2, h, w).

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            edge_logit, displacement = self.edge_and_displacement(inputs)
            return {"edge_logit": edge_logit, "displacement": displacement}
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
            return self.loss(inputs, labels.to(inputs.device))
        if mode == "predict":
            edge_logit, displacement = self.edge_and_displacement(inputs)
            for sample, edge, field in zip(data_samples, edge_logit.sigmoid(), displacement, strict=True):
                sample.edge = PixelData(data=edge)
                sample.displacement = PixelData(data=field)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")
