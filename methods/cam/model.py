"""The CAM baseline: global average pooling, a bias-free classifier, multi-label soft margin.

Sources: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016; network and recipe
as released with Ahn, Cho, Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations", CVPR 2019 (spec `irn`, part A).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from harness.conversion import Conversion
from methods.modules.cam_classifier import CAMClassifier
from methods.modules.conversion import (
    account,
    expected_state,
    infer_classes,
    split_aliases,
    strip_module_prefix,
)
from methods.modules.resnet import infer_depth

ALIASES = ("stage1.", "stage2.", "stage3.", "stage4.", "backbone.", "newly_added.")


@MODELS.register_module()
class CAMNet(CAMClassifier):
    """CAM baseline; the recipe's backbone is `StageResNet(depth=50, detach_after=2)`.

    Learning-rate groups: `classifier` trains at ten times the backbone's rate.
    """

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`loss_image`, the multi-label soft margin, for inputs (N, 3, H, W) and labels (N, C)."""
        logits = self.image_logits(self.features(inputs))
        return {"loss_image": F.multilabel_soft_margin_loss(logits, labels)}


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released CAM checkpoint (`resnet50.*`, `classifier.weight` and aliases; spec B.12) onto `CAMNet`.

    Raises:
        InputError: the depth cannot be told, or a copy differs from the tensor that it should equal.
    """
    first, dropped = split_aliases(strip_module_prefix(state), ALIASES)
    depth, classes = infer_depth(first), infer_classes(first)
    expected = expected_state(lambda: CAMNet(classes, {"type": "StageResNet", "depth": depth}))
    return account(first, {"resnet50": "backbone", "classifier": "classifier"}, expected, dropped)
