"""The part that CAM methods with a ResNet share: backbone, bias-free classifier, activation maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn


class CAMClassifier(BaseModel):
    """Multi-label classifier whose 1x1 convolution also gives the class activation maps.

    Subclasses implement `loss`. See `docs/design.md`, "Models", for the modes of `forward`.

    Args:
        num_classes: foreground classes.
        backbone: config of a backbone that returns its stage outputs and has `out_channels`.
    """

    def __init__(self, num_classes: int, backbone: dict[str, Any]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = MODELS.build(backbone)
        self.classifier = nn.Conv2d(self.backbone.out_channels, num_classes, 1, bias=False)

    def features(self, inputs: Tensor) -> Tensor:
        """Last stage output (N, D, h, w), non-negative, for inputs (N, 3, H, W)."""
        return self.backbone(inputs)[-1]

    def pool(self, features: Tensor) -> Tensor:
        """(N, D, h, w) features to the (N, D, 1, 1) vector that the classifier sees."""
        return features.mean(dim=(2, 3), keepdim=True)

    def image_logits(self, features: Tensor) -> Tensor:
        """(N, num_classes) logits of the image classifier."""
        return self.classifier(self.pool(features)).flatten(1)

    def activation_maps(self, features: Tensor) -> Tensor:
        """(N, num_classes, h, w) CAMs after ReLU; the pooling plays no part in them."""
        return F.relu(self.classifier(features))

    def class_scores(self, inputs: Tensor) -> Tensor:
        """(N, num_classes) logits of the image classifier for inputs (N, 3, H, W)."""
        return self.image_logits(self.features(inputs))

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss terms for inputs (N, 3, H, W) and multi-hot labels (N, num_classes) float32."""
        raise NotImplementedError

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives CAMs (N, C, h, w), `loss` a dict, `predict` sets `cam`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.activation_maps(self.features(inputs))
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.stack([sample.image_labels for sample in data_samples])
            return self.loss(inputs, labels.to(inputs.device))
        if mode == "predict":
            for sample, cam in zip(data_samples, self.activation_maps(self.features(inputs)), strict=True):
                sample.cam = PixelData(data=cam)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")
