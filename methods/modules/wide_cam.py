"""The plain CAM network on the wide ResNet-38, the baseline of its family (spec `hsc`, section 2.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.cam_classifier import CAMClassifier
from methods.modules.conversion import account, expected_state, strip_module_prefix


@MODELS.register_module()
class WideCAM(CAMClassifier):
    """Channel dropout, global average pooling and a 1x1 classifier on `conv6`.

    Args:
        num_classes: foreground classes.
        backbone: config of a `ResNet38`.
    """

    def __init__(self, num_classes: int, backbone: dict[str, Any]) -> None:
        super().__init__(num_classes, backbone)
        self.dropout = nn.Dropout2d(0.5)

    def pool(self, features: Tensor) -> Tensor:
        """(N, D, h, w) features to the (N, D, 1, 1) vector that the classifier sees."""
        return super().pool(self.dropout(features))

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Multi-label soft margin loss for inputs (N, 3, H, W) and multi-hot labels (N, num_classes)."""
        logits = self.image_logits(self.features(inputs))
        return {"loss_cls": F.multilabel_soft_margin_loss(logits, labels)}


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released classifier (trunk and `fc8`) onto `WideCAM`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["fc8.weight"].shape[0] if "fc8.weight" in theirs else 20
    trunk = {name: f"backbone.{name}" for name in theirs if not name.startswith("fc8.")}
    return account(
        theirs, trunk | {"fc8": "classifier"}, expected_state(lambda: WideCAM(classes, {"type": "ResNet38"}))
    )
