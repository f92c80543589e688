"""DeepLab v2 with the multi-scale wrapper: the second stage of most WSSS methods.

Sources: Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", TPAMI 2018; layout and recipe of the code
that VWE and VWL trained their second stage with (spec `vwe`, section 9.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state, strip_module_prefix

IGNORE = 255


@lru_cache(maxsize=64)
def pil_nearest_index(size: int, new_size: int) -> Tensor:
    """(new_size,) int64: the source position that PIL's nearest resize takes for every target position.

    PIL adds the step up in float64 from half a step on, which differs from `floor((i + 0.5) * step)` where
    the rounding of the sum crosses an integer.
    """
    step = size / new_size
    positions = np.add.accumulate(np.concatenate([[step * 0.5], np.full(new_size - 1, step)]))
    return torch.from_numpy(np.minimum(positions.astype(np.int64), size - 1))


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest-resize labels (N, H, W) to (N, h, w), equal to PIL, on the labels' device."""
    rows, columns = (
        pil_nearest_index(old, new).to(labels.device, non_blocking=True)
        for old, new in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[:, rows[:, None], columns]


def multi_scale_loss(logits: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """Cross-entropy of each logit map (N, classes, h, w) against the resized labels (N, H, W).

    Label 255 is ignored. A batch without any labelled pixel gives 0, not NaN.
    """
    target = resize_labels(labels, logits[0].shape[-2:])
    labelled = (target != IGNORE).sum().clamp_min(1)
    return [F.cross_entropy(part, target, ignore_index=IGNORE, reduction="sum") / labelled for part in logits]


class ASPP(nn.ModuleList):
    """Sum of parallel dilated 3x3 convolutions; weights start as N(0, 0.01), biases as 0."""

    def __init__(self, in_channels: int, out_channels: int, rates: Sequence[int]) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate) for rate in rates
        )
        for convolution in self:
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        return sum(convolution(x) for convolution in self)


@MODELS.register_module()
class DeepLabV2(BaseModel):
    """DeepLab v2; `CAFFE_R101` is the backbone of the literature.

    Args:
        num_classes: classes including background.
        backbone: config of a backbone that returns its stage outputs and has `out_channels`.
        atrous_rates: dilations of the ASPP convolutions.
        scales: sizes, next to 1, at which the wrapper evaluates the network.
        train_aspp_bias: the released recipe meant to train ASPP weights and biases at 10 and 20 times the
            rate but matched a layer name that does not exist, so the weights train at the base rate and the
            biases stay 0: False. The original DeepLab recipe is True with `paramwise_cfg` keys for `aspp`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
        scales: Sequence[float] = (0.5, 0.75),
        train_aspp_bias: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scales = tuple(scales)
        self.backbone = MODELS.build(backbone)
        self.aspp = ASPP(self.backbone.out_channels, num_classes, atrous_rates)
        if not train_aspp_bias:
            for convolution in self.aspp:
                convolution.bias.requires_grad_(False)

    def logits(self, inputs: Tensor) -> Tensor:
        """(N, classes, h, w) logits of the network at one scale."""
        return self.aspp(self.backbone(inputs)[-1])

    def multi_scale_logits(self, inputs: Tensor) -> list[Tensor]:
        """Logits at scale 1, at each further scale (upsampled), and their maximum, all (N, classes, h, w)."""
        full = self.logits(inputs)
        parts = [full]
        for scale in self.scales:
            scaled = F.interpolate(inputs, scale_factor=scale, mode="bilinear", align_corners=False)
            part = self.logits(scaled)
            parts.append(F.interpolate(part, size=full.shape[-2:], mode="bilinear", align_corners=False))
        maximum = parts[0]
        for part in parts[1:]:
            maximum = torch.maximum(maximum, part)
        return [*parts, maximum]

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives the maximum logits, `loss` a dict, `predict` `seg_logits`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.multi_scale_logits(inputs)[-1]
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples]).to(inputs.device)
            parts = multi_scale_loss(self.multi_scale_logits(inputs), labels)
            return {"loss_seg": torch.stack(parts).mean()}
        if mode == "predict":
            for sample, logits in zip(data_samples, self.multi_scale_logits(inputs)[-1], strict=True):
                sample.seg_logits = PixelData(data=logits)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


CAFFE_R101: dict[str, Any] = {
    "type": "StageResNet",
    "depth": 101,
    "style": "caffe",
    "strides": (2, 2, 1, 1),
    "dilations": (1, 1, 2, 4),
    "norm": "frozen",
    "freeze_affine": True,
    "freeze_stem": False,
}

_LAYER1 = re.compile(r"layer1\.conv7x7\.(conv|batch_norm)\.(.+)")
_BLOCK = re.compile(r"layer([2-5])\.block(\d+)\.(conv[123]|shortcut)\.(conv|batch_norm)\.(.+)")
_ASPP = re.compile(r"aspp\.c(\d)\.(.+)")


def _our_name(name: str) -> str | None:
    """Our name of an authors' tensor (without `base.`), None where there is none."""
    if match := _LAYER1.fullmatch(name):
        kind, leaf = match.groups()
        return f"backbone.{'conv1' if kind == 'conv' else 'bn1'}.{leaf}"
    if match := _BLOCK.fullmatch(name):
        layer, block, unit, kind, leaf = match.groups()
        place = f"backbone.layer{int(layer) - 1}.{int(block) - 1}"
        if unit == "shortcut":
            return f"{place}.downsample.{0 if kind == 'conv' else 1}.{leaf}"
        return f"{place}.{unit if kind == 'conv' else unit.replace('conv', 'bn')}.{leaf}"
    if match := _ASPP.fullmatch(name):
        return f"aspp.{match.group(1)}.{match.group(2)}"
    return None


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released DeepLab v2 ResNet-101 checkpoint (`base.layer1.conv7x7.*`, ...) onto `DeepLabV2`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = {name.removeprefix("base."): tensor for name, tensor in strip_module_prefix(state).items()}
    bias = theirs.get("aspp.c0.bias")
    expected = expected_state(lambda: DeepLabV2(21 if bias is None else bias.shape[0], CAFFE_R101))
    renames = {name: ours for name in theirs if (ours := _our_name(name)) is not None}
    return account(theirs, renames, expected)


def convert_deeplabv1(state: Mapping[str, Tensor]) -> Conversion:
    """Map an initial checkpoint `deeplabv1_resnet101-*.pth` onto the backbone of `DeepLabV2`, `CAFFE_R101`.

    Names are those of `convert_authors` without the ASPP head, which such a file does not have.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = {name.removeprefix("base."): tensor for name, tensor in strip_module_prefix(state).items()}
    renames = {
        name: ours.removeprefix("backbone.")
        for name in theirs
        if (ours := _our_name(name)) is not None and ours.startswith("backbone.")
    }
    return account(theirs, renames, expected_state(lambda: MODELS.build(CAFFE_R101)))
