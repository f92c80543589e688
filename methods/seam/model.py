"""SEAM: two views of an image, a CAM refined by pixel correlation, and losses that ask for equivariance.

Source: Wang, Zhang, Kan, Shan, Chen, "Self-Supervised Equivariant Attention Mechanism for Weakly Supervised
Semantic Segmentation", CVPR 2020, as released (spec `rtc`, sections 5 and 8.1). Background is the first
channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from methods.modules.equivariance import (
    EquivarianceLosses,
    PixelCorrelation,
    adaptive_min_pooling,
    equivariance_losses,
    resize,
)
from methods.modules.resnet38 import ResNet38

BACKGROUND = 0

View = tuple[Tensor, Tensor]  # CAM and refined CAM


def view_classification(view: View, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Classification loss of the CAM, and the loss that keeps a quarter of the refined CAM quiet; scalars.

    Args:
        view: (n, K, H, W) CAM logits and refined CAM, background first.
        labels: (n, K - 1) multi-hot.
    """
    cam, refined = view
    quiet = refined[:, 1:] * labels[:, :, None, None]
    return F.multilabel_soft_margin_loss(cam.mean((2, 3))[:, 1:], labels), adaptive_min_pooling(quiet)


def view_equivariance(first: View, second: View, labels: Tensor) -> EquivarianceLosses:
    """ER and ECR of two views, the second the smaller one; arguments as in `view_classification`."""
    return equivariance_losses(
        (first[0], second[0]),
        (first[1], second[1]),
        torch.cat([torch.ones_like(labels[:, :1]), labels], dim=1),
        background=BACKGROUND,
        passing=BACKGROUND,
    )


@MODELS.register_module()
class SEAM(BaseModel):
    """Wide ResNet-38, a CAM and its refinement by pixel correlation.

    Args:
        num_classes: foreground classes.
        backbone: config of a `ResNet38`.
        view_scale: size of the second view relative to the first.
    """

    def __init__(self, num_classes: int, backbone: dict[str, Any], *, view_scale: float = 0.3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.view_scale = view_scale
        self.backbone = MODELS.build(backbone)
        self.dropout = nn.Dropout2d(0.5)
        self.fc8 = nn.Conv2d(self.backbone.out_channels, num_classes + 1, 1, bias=False)
        nn.init.xavier_uniform_(self.fc8.weight)
        self.correlation = PixelCorrelation(
            self.backbone.conv4_channels, self.backbone.conv5_channels, BACKGROUND
        )

    def view(self, image: Tensor) -> View:
        """CAM logits and refined CAM (n, K, H, W) of images (n, 3, H, W), background first."""
        stages = self.backbone(image)
        cam = self.fc8(self.dropout(stages.conv6))
        refined = self.correlation(image, stages, cam)
        return resize(cam, image.shape[-2:]), resize(refined, image.shape[-2:])

    def loss(self, image: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms of a training step for images (n, 3, H, W) and multi-hot labels (n, K - 1)."""
        size = tuple(int(side * self.view_scale) for side in image.shape[-2:])
        first, second = self.view(image), self.view(resize(image, size))
        parts = [*view_classification(first, labels), *view_classification(second, labels)]
        equivariance = view_equivariance(first, second, labels)
        return {
            "loss_cls": torch.stack(parts).sum() / 2,
            "loss_er": equivariance.er,
            "loss_ecr": equivariance.ecr,
        }

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives CAMs (n, K - 1, H, W), `loss` a dict, `predict` sets `cam`.

        The CAMs of inference are the refined ones, at the size of the inputs.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.view(inputs)[1][:, 1:]
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.stack([sample.image_labels for sample in data_samples])
            return self.loss(inputs, labels.to(inputs.device))
        if mode == "predict":
            for sample, cam in zip(data_samples, self(inputs), strict=True):
                sample.cam = PixelData(data=cam)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released SEAM checkpoint onto `SEAM`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["fc8.weight"].shape[0] - 1 if "fc8.weight" in theirs else 20
    trunk = {name: f"backbone.{name}" for name in expected_state(ResNet38)}
    correlation = {name: f"correlation.{name}" for name in ("f8_3", "f8_4", "f9")}
    expected = expected_state(lambda: SEAM(classes, {"type": "ResNet38"}))
    return account(theirs, trunk | correlation | {"fc8": "fc8"}, expected)
