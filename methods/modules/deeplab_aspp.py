"""DeepLab as the second stage of HSC, PPC and RTC: one scale, batch norm, logits at the input's size.

Sources: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs",
ICLR 2015 (large field of view), and "DeepLab", TPAMI 2018 (ASPP), both as the released code has them (spec
`hsc`, section 11): `DeepLabASPP` fuses its branches by a convolution and has a global one, so it is DeepLab
v2 by name only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.modules.resnet38 import ResNet38, Stages

IGNORE = 255

# The deep-stem ResNet-101 "resnet101s" of PyTorch-Encoding, dilated to output stride 8. No optimiser group of
# the release holds a norm's scale and bias, so they stay what the weights say while the statistics move.
RESNET101S: dict[str, Any] = {
    "type": "mmseg.ResNetV1c",
    "depth": 101,
    "stem_channels": 128,
    "strides": (1, 2, 1, 1),
    "dilations": (1, 1, 2, 4),
    "contract_dilation": True,
    "norm_cfg": {"type": "BN", "requires_grad": False},
}


def _convolution(
    in_channels: int, out_channels: int, momentum: float, *, kernel: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation if kernel == 3 else 0
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels, momentum=momentum),
        nn.ReLU(),
    )


class FusedASPP(nn.Module):
    """Parallel dilated convolutions and a global branch, concatenated and fused.

    Args:
        in_channels, out_channels: widths; every branch has the output's.
        rates: dilations of the 3x3 convolutions.
        momentum: of the norms.
    """

    def __init__(self, in_channels: int, out_channels: int, rates: Sequence[int], momentum: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _convolution(in_channels, out_channels, momentum, kernel=3, dilation=rate) for rate in rates
        )
        self.global_branch = _convolution(in_channels, out_channels, momentum)
        self.fuse = _convolution((len(rates) + 1) * out_channels, out_channels, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C', h, w)."""
        whole = self.global_branch(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.fuse(torch.cat([*(branch(x) for branch in self.branches), whole], dim=1))


class _DeepLab(BaseModel):
    """Backbone and head, with the loss and the modes that both heads share."""

    head: nn.Module

    def __init__(self, num_classes: int, backbone: dict[str, Any], train_bn_affine: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = MODELS.build(backbone)
        self.train_bn_affine = train_bn_affine

    def _init_head(self) -> None:
        for module in self.head.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if not self.train_bn_affine:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)

    @property
    def backbone_channels(self) -> int:
        """Width of the last backbone map."""
        return self.backbone.out_channels if isinstance(self.backbone, ResNet38) else self.backbone.feat_dim

    def features(self, inputs: Tensor) -> Tensor:
        """Last backbone map (N, D, h, w) of images (N, 3, H, W)."""
        outputs = self.backbone(inputs)
        return outputs.conv6 if isinstance(outputs, Stages) else outputs[-1]

    def logits(self, inputs: Tensor) -> Tensor:
        """(N, classes, H, W) logits at the size of the images (N, 3, H, W)."""
        logits = self.head(self.features(inputs))
        return F.interpolate(logits, size=inputs.shape[-2:], mode="bilinear", align_corners=True)

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives logits, `loss` a dict, `predict` sets `seg_logits`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.logits(inputs)
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples]).to(inputs.device)
            labelled = (labels != IGNORE).sum().clamp_min(1)
            total = F.cross_entropy(self.logits(inputs), labels, ignore_index=IGNORE, reduction="sum")
            return {"loss_seg": total / labelled}
        if mode == "predict":
            for sample, logits in zip(data_samples, self.logits(inputs), strict=True):
                sample.seg_logits = PixelData(data=logits)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


@MODELS.register_module()
class DeepLabASPP(_DeepLab):
    """Fused ASPP on a backbone of output stride 8, `RESNET101S` in the literature.

    Args:
        num_classes: classes including background.
        backbone: config of `RESNET101S` or of a `ResNet38`.
        rates: dilations of the ASPP branches.
        momentum: of the head's norms.
        train_bn_affine: train scale and bias of all norms; the release keeps them.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        rates: Sequence[int] = (6, 12, 18, 24),
        momentum: float = 0.0003,
        train_bn_affine: bool = False,
    ) -> None:
        super().__init__(num_classes, backbone, train_bn_affine)
        self.head = nn.Sequential(
            FusedASPP(self.backbone_channels, 256, rates, momentum),
            nn.Dropout(0.5),
            nn.Dropout(0.5),
            nn.Conv2d(256, num_classes, 1),
        )
        self._init_head()


@MODELS.register_module()
class DeepLabLargeFOV(_DeepLab):
    """DeepLab v1's head with a large field of view, on a `ResNet38` or on `RESNET101S`.

    Args:
        num_classes: classes including background.
        backbone: config of the backbone. The released trainer never calls `train()`, so that a `ResNet38`
            keeps the batch statistics and the trainable stem that it was built with:
            `norm="batch", bn_momentum=0.0003, frozen_stages=0`.
        momentum: of the head's norms.
        train_bn_affine: train scale and bias of all norms; the release keeps them.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        momentum: float = 0.0003,
        train_bn_affine: bool = False,
    ) -> None:
        super().__init__(num_classes, backbone, train_bn_affine)
        self.head = nn.Sequential(
            _convolution(self.backbone_channels, 512, momentum, kernel=3, dilation=12),
            _convolution(512, 512, momentum),
            nn.Dropout(0.5),
            nn.Conv2d(512, num_classes, 1),
        )
        self._init_head()


_RESNET101S_NAMES = {
    **{f"conv1.{index}": f"stem.{index}" for index in (0, 1, 3, 4, 6)},
    "bn1": "stem.7",
    **{f"layer{index}": f"layer{index}" for index in (1, 2, 3, 4)},
}
_ASPP_NAMES = {
    **{f"aspp.branch{index + 1}": f"head.0.branches.{index}" for index in range(4)},
    "aspp.branch5_conv": "head.0.global_branch.0",
    "aspp.branch5_bn": "head.0.global_branch.1",
    "aspp.conv_cat": "head.0.fuse",
    "cls_conv": "head.3",
}
_LARGE_FOV_NAMES = {
    "conv_fov": "head.0.0",
    "bn_fov": "head.0.1",
    "conv_fov2": "head.1.0",
    "bn_fov2": "head.1.1",
    "cls_conv": "head.3",
}


def their_name(name: str) -> str:
    """Released name of a parameter of `DeepLabASPP` on `RESNET101S`."""
    for theirs, ours in (_prefixed(_RESNET101S_NAMES) | _ASPP_NAMES).items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def convert_resnet101s(state: Mapping[str, Tensor]) -> Conversion:
    """Map the ImageNet weights `resnet101s-03a0f310` onto the backbone `RESNET101S`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    dropped = {name: "the ImageNet classifier" for name in state if name in ("fc.weight", "fc.bias")}
    theirs = {name: tensor for name, tensor in state.items() if name not in dropped}
    return account(theirs, _RESNET101S_NAMES, expected_state(lambda: MODELS.build(RESNET101S)), dropped)


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released second stage onto `DeepLabASPP` or `DeepLabLargeFOV` (spec `hsc`, section 14).

    Its names tell which head and which backbone it has.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["cls_conv.bias"].shape[0] if "cls_conv.bias" in theirs else 21
    wide = "backbone.conv1a.weight" in theirs
    large_fov = "conv_fov.weight" in theirs
    backbone = {"type": "ResNet38"} if wide else RESNET101S
    build: Callable[[], nn.Module] = lambda: (  # noqa: E731  built on the meta device, later
        DeepLabLargeFOV(classes, backbone) if large_fov else DeepLabASPP(classes, backbone)
    )
    inside = {"backbone": "backbone"} if wide else _prefixed(_RESNET101S_NAMES)
    return account(theirs, inside | (_LARGE_FOV_NAMES if large_fov else _ASPP_NAMES), expected_state(build))


def _prefixed(names: Mapping[str, str]) -> dict[str, str]:
    return {f"backbone.{theirs}": f"backbone.{ours}" for theirs, ours in names.items()}
