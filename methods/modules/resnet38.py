"""The wide ResNet-38 that SEAM, EPS, PPC, HSC and RTC stand on.

Source: Wu, Shen, van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition",
arXiv 1611.10080, model A1, dilated to output stride 8 and without its classifier, as the released code of the
methods runs it (spec `hsc`, section 2). Parameter names are those of that code, so its checkpoints load as
they are; `convert_mxnet` maps the ImageNet file that all of them start from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.conversion import expected_state
from methods.modules.resnet import NORMS

Norm = Literal["frozen", "batch"]

# Per stage: units, stride of the first, dilations of its two convolutions, dilation of the other units.
_TWO_CONV_STAGES = {
    "b2": (3, 2, (1, 1), 1),
    "b3": (3, 2, (1, 1), 1),
    "b4": (6, 2, (1, 1), 1),
    "b5": (3, 1, (1, 2), 2),
}


class TwoConvUnit(nn.Module):
    """Pre-activation unit of two 3x3 convolutions (stages b2 to b5).

    Args:
        in_channels, mid_channels, out_channels: widths.
        stride: of the first convolution and of the shortcut.
        dilations: of the two convolutions.
        norm: class of the norms.

    The shortcut is the raw input where the shape stays the same, else a 1x1 convolution of the
    pre-activation.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
        norm: type[nn.BatchNorm2d],
    ) -> None:
        super().__init__()
        first, second = dilations
        self.bn_branch2a = norm(in_channels)
        self.conv_branch2a = nn.Conv2d(in_channels, mid_channels, 3, stride, first, first, bias=False)
        self.bn_branch2b1 = norm(mid_channels)
        self.conv_branch2b1 = nn.Conv2d(mid_channels, out_channels, 3, 1, second, second, bias=False)
        self.conv_branch1 = (
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) to the unit's output and its pre-activation (N, C, H, W)."""
        pre = F.relu(self.bn_branch2a(x))
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(pre)
        residual = self.conv_branch2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(pre))))
        return shortcut + residual, pre


class ThreeConvUnit(nn.Module):
    """Pre-activation bottleneck with channel dropout (stages b6 and b7).

    Args:
        in_channels, out_channels: widths; inside it is a quarter, then a half of the output's.
        dilation: of the 3x3 convolution.
        dropout: rate before the second and the third convolution.
        norm: class of the norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilation: int,
        dropout: float,
        norm: type[nn.BatchNorm2d],
    ) -> None:
        super().__init__()
        quarter, half = out_channels // 4, out_channels // 2
        self.bn_branch2a = norm(in_channels)
        self.conv_branch2a = nn.Conv2d(in_channels, quarter, 1, bias=False)
        self.bn_branch2b1 = norm(quarter)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(quarter, half, 3, 1, dilation, dilation, bias=False)
        self.bn_branch2b2 = norm(half)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(half, out_channels, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) to the unit's output and its pre-activation (N, C, H, W)."""
        pre = F.relu(self.bn_branch2a(x))
        y = self.conv_branch2a(pre)
        y = self.conv_branch2b1(self.dropout_2b1(F.relu(self.bn_branch2b1(y))))
        y = self.conv_branch2b2(self.dropout_2b2(F.relu(self.bn_branch2b2(y))))
        return self.conv_branch1(pre) + y, pre


class Stages(NamedTuple):
    """What the trunk returns; widths for `base_channels=64`.

    Attributes:
        conv3: (N, 256, H/4, W/4), pre-activation entering b4.
        conv4: (N, 512, H/8, W/8), pre-activation entering b5.
        conv5: (N, 1024, H/8, W/8), pre-activation entering b6.
        conv6: (N, 4096, H/8, W/8), after b7, its norm and ReLU.
    """

    conv3: Tensor
    conv4: Tensor
    conv5: Tensor
    conv6: Tensor


@MODELS.register_module()
class ResNet38(nn.Module):
    """The trunk; an odd side gives a stage of half its size, rounded up.

    Args:
        base_channels: width of the first convolution, 64 in the paper; all other widths follow it.
        norm: 'frozen' normalises with stored statistics and trains no scale or bias (CAM networks),
            'batch' is ordinary batch norm (second stages as released, and training from random weights).
        bn_momentum: of the running statistics with norm 'batch'.
        frozen_stages: how many of conv1a and b2 keep their convolutions: 0 none, 1 conv1a, 2 both (CAM
            networks of this family).
        dropout: rates of channel dropout in b6 and b7.
    """

    def __init__(
        self,
        *,
        base_channels: int = 64,
        norm: Norm = "frozen",
        bn_momentum: float = 0.1,
        frozen_stages: Literal[0, 1, 2] = 2,
        dropout: tuple[float, float] = (0.3, 0.5),
    ) -> None:
        super().__init__()
        width = base_channels
        make = NORMS[norm]
        self.out_channels = 64 * width
        self.conv3_channels, self.conv4_channels, self.conv5_channels = 4 * width, 8 * width, 16 * width
        self.conv1a = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        widths = {
            "b2": (width, 2 * width, 2 * width),
            "b3": (2 * width, 4 * width, 4 * width),
            "b4": (4 * width, 8 * width, 8 * width),
            "b5": (8 * width, 8 * width, 16 * width),
        }
        for stage, (units, stride, first, rest) in _TWO_CONV_STAGES.items():
            entering, middle, leaving = widths[stage]
            self.add_module(
                stage, TwoConvUnit(entering, middle, leaving, stride=stride, dilations=first, norm=make)
            )
            for index in range(1, units):
                unit = TwoConvUnit(leaving, middle, leaving, dilations=(rest, rest), norm=make)
                self.add_module(f"{stage}_{index}", unit)
        self.b6 = ThreeConvUnit(16 * width, 32 * width, dilation=4, dropout=dropout[0], norm=make)
        self.b7 = ThreeConvUnit(32 * width, 64 * width, dilation=4, dropout=dropout[1], norm=make)
        self.bn7 = make(64 * width)
        self._init_norms(norm, bn_momentum)
        frozen = [self.conv1a, *self._units("b2")][: {0: 0, 1: 1, 2: 4}[frozen_stages]]
        for part in frozen:
            part.requires_grad_(False)

    def _init_norms(self, norm: Norm, bn_momentum: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = bn_momentum
                module.requires_grad_(norm == "batch")

    def _units(self, stage: str) -> Iterator[nn.Module]:
        return (module for name, module in self.named_children() if name.split("_")[0] == stage)

    def _stage(self, stage: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output of a stage, and the pre-activation of its first unit."""
        entering = None
        for unit in self._units(stage):
            x, pre = unit(x)
            entering = pre if entering is None else entering
        assert entering is not None
        return x, entering

    def forward(self, x: Tensor) -> Stages:
        """Features of images (N, 3, H, W) float32, normalised with ImageNet's mean and deviation."""
        x = self.conv1a(x)
        x, _ = self._stage("b2", x)
        x, _ = self._stage("b3", x)
        x, conv3 = self._stage("b4", x)
        x, conv4 = self._stage("b5", x)
        x, conv5 = self.b6(x)
        x, _ = self.b7(x)
        return Stages(conv3, conv4, conv5, F.relu(self.bn7(x)))


_MXNET_NAME = re.compile(r"(?:arg|aux):(?:(res|bn)(\d)([ab])(\d?)_(branch\w+?)|(bn7))_(\w+)")
_MXNET_LEAVES = {
    "weight": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}


def our_name(mxnet_name: str) -> str | None:
    """Name in `ResNet38` of a tensor of the MXNet file (`arg:res3b1_branch2a_weight`), None if none."""
    if mxnet_name == "arg:conv1a_weight":
        return "conv1a.weight"
    match = _MXNET_NAME.fullmatch(mxnet_name)
    if match is None or match[7] not in _MXNET_LEAVES:
        return None
    kind, stage, _, index, branch, last_norm, leaf = match.groups()
    if last_norm:
        return f"bn7.{_MXNET_LEAVES[leaf]}"
    unit = f"b{stage}_{index}" if index else f"b{stage}"
    return f"{unit}.{'conv' if kind == 'res' else 'bn'}_{branch}.{_MXNET_LEAVES[leaf]}"


def convert_mxnet(state: Mapping[str, Tensor]) -> Conversion:
    """Map the ImageNet file `ilsvrc-cls_rna-a1_cls1000_ep-0001.params` onto `ResNet38` (spec section 2.3)."""
    expected = expected_state(ResNet38)
    # The file has no batch counters, which frozen norms do not use.
    ours = {name: torch.tensor(0) for name in expected if name.endswith("num_batches_tracked")}
    dropped, unmapped = {}, []
    for name, tensor in state.items():
        target = our_name(name)
        if name in ("arg:linear1000_weight", "arg:linear1000_bias"):
            dropped[name] = "the ImageNet classifier"
        elif target is None or target not in expected or expected[target].shape != tensor.shape:
            unmapped.append(name)
        else:
            ours[target] = tensor
    return Conversion(ours, dropped, unmapped, [name for name in expected if name not in ours])
