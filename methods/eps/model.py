"""The network of EPS: a CAM with a background channel, trained on saliency (spec `hsc`, section 17)."""

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
from methods.eps.losses import saliency_loss
from methods.modules.conversion import account, expected_state, strip_module_prefix


@MODELS.register_module()
class EPS(BaseModel):
    """Wide ResNet-38 and a 1x1 convolution to the classes and, last, background.

    K counts the channels, n the batch; h, w are an eighth of the image's size.

    Args:
        num_classes: foreground classes.
        backbone: config of a `ResNet38`.
        tau: smallest salient part of a foreground class.
        alpha: weight of the foreground in the predicted saliency.
    """

    def __init__(
        self, num_classes: int, backbone: dict[str, Any], *, tau: float = 0.4, alpha: float = 0.5
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.tau, self.alpha = tau, alpha
        self.backbone = MODELS.build(backbone)
        self.fc8 = nn.Conv2d(self.backbone.out_channels, num_classes + 1, 1, bias=False)
        nn.init.xavier_uniform_(self.fc8.weight)

    def cam_logits(self, image: Tensor) -> Tensor:
        """(n, K, h, w) CAM logits of images (n, 3, H, W), background last."""
        return self.fc8(self.backbone(image).conv6)

    def saliency(self, cam: Tensor, saliency: Tensor, labels: Tensor) -> Tensor:
        """The saliency loss of a CAM (n, K, h, w) with this network's settings."""
        return saliency_loss(cam, saliency, labels, tau=self.tau, alpha=self.alpha).loss

    def loss(self, image: Tensor, saliency: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms of a training step.

        Args:
            image: (n, 3, H, W) normalised.
            saliency: (n, 1, H, W) in [0, 1].
            labels: (n, K - 1) multi-hot.
        """
        cam = self.cam_logits(image)
        return {
            "loss_cls": F.multilabel_soft_margin_loss(cam.mean((2, 3))[:, :-1], labels),
            "loss_sal": self.saliency(cam, saliency, labels),
        }

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives CAMs (n, K - 1, h, w), `loss` a dict, `predict` sets `cam`.

        The CAMs of inference are the probabilities of the classes in a softmax with background.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.cam_logits(inputs).softmax(1)[:, :-1]
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.stack([sample.image_labels for sample in data_samples]).to(inputs.device)
            saliency = torch.stack([sample.saliency.data for sample in data_samples]).to(inputs.device)
            return self.loss(inputs, saliency, labels)
        if mode == "predict":
            for sample, cam in zip(data_samples, self(inputs), strict=True):
                sample.cam = PixelData(data=cam)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released checkpoint (trunk and `fc8` with 21 rows) onto `EPS`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["fc8.weight"].shape[0] - 1 if "fc8.weight" in theirs else 20
    expected = expected_state(lambda: EPS(classes, {"type": "ResNet38"}))
    trunk = {name: f"backbone.{name}" for name in theirs if not name.startswith("fc8.")}
    return account(theirs, trunk | {"fc8": "fc8"}, expected)
