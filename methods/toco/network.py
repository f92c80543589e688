"""The network of ToCo and MCC: a vision transformer with class maps of two depths and a decoder.

Source: spec `mcc`, sections 1 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.modules.vit import IMAGENET_HEAD, Tokens, ViT, dimensions
from methods.toco.cams import multi_scale_maps
from methods.toco.heads import LargeFOV, Projector
from methods.toco.views import stepwise

WEIGHT_NORM = {  # names of the old and of the new implementation in torch
    "last_layer.weight_g": "last_layer.parametrizations.weight.original0",
    "last_layer.weight_v": "last_layer.parametrizations.weight.original1",
}
HEADS = {
    "classifier": "classifier",
    "aux_classifier": "aux_classifier",
    "decoder": "decoder",
    "proj_head": "projector",
    "proj_head_t": "teacher",
}


class Batch(NamedTuple):
    """Images of a training step in their views; all are normalised and of the same size.

    Attributes:
        image: (B, 3, S, S), which is also the first global view.
        second: (B, 3, S, S), the second global view.
        local: (B, 3, S, S), where local views come from; shows the same crop as `image`.
        content: (B, S, S) bool, where `image` shows the picture and not the canvas around it.
        labels: (B, C) multi-hot.
    """

    image: Tensor
    second: Tensor
    local: Tensor
    content: Tensor
    labels: Tensor


class TokenNetwork(BaseModel):
    """Transformer, two classifiers, decoder, and the projection of class tokens with its teacher.

    Subclasses implement `terms`. In the shapes, C counts classes without background, K with it, and h, w is
    the grid of patches.

    Args:
        num_classes: C.
        backbone: arguments of a `ViT`.
        scales: of the class maps, in training and inference.
        decoder: arguments of `LargeFOV` that differ.
        projector: arguments of `Projector` that differ.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Mapping[str, Any],
        *,
        scales: Sequence[float] = (1.0, 0.5, 1.5),
        decoder: Mapping[str, Any] | None = None,
        projector: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scales = tuple(scales)
        self.backbone = ViT(**backbone)
        width = self.backbone.embed_dim
        self.classifier = nn.Conv2d(width, num_classes, 1, bias=False)
        self.aux_classifier = nn.Conv2d(width, num_classes, 1, bias=False)
        self.decoder = LargeFOV(width, num_classes + 1, **(decoder or {}))
        self.projector = Projector(width, **(projector or {}))
        self.teacher = Projector(width, **(projector or {}))
        self.teacher.load_state_dict(self.projector.state_dict())
        self.teacher.requires_grad_(False)

    def image_logits(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """(B, C) logits of both classifiers, from the highest value of each channel."""
        main, auxiliary = (
            head(F.adaptive_max_pool2d(maps, 1)).flatten(1)
            for head, maps in (
                (self.classifier, tokens.patches),
                (self.aux_classifier, tokens.auxiliary),
            )
        )
        return main, auxiliary

    @torch.no_grad()
    def raw_maps(self, tokens: Tokens) -> Tensor:
        """(2, B, C, h, w) class maps of the last and of the auxiliary block, before ReLU; no gradient."""
        return torch.stack([self.classifier(tokens.patches), self.aux_classifier(tokens.auxiliary)])

    @torch.no_grad()
    def class_maps(self, image: Tensor, labels: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """(2, B, C, H, W) maps in [0, 1] of images (B, 3, H, W), see `multi_scale_maps`."""
        return multi_scale_maps(
            lambda images: self.raw_maps(self.backbone(images)), image, self.scales, labels, known
        )

    def terms(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Terms of a training step on images (N, 3, H, W) and what goes with them."""
        raise NotImplementedError

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives logits (N, K, h, w) of the decoder, `predict` sets them.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.decoder(self.backbone(inputs).patches)
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            return self.terms(inputs, data_samples)
        if mode == "predict":
            for sample, logits in zip(data_samples, self(inputs), strict=True):
                sample.seg_logits = PixelData(data=logits)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


def gather(inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Batch:
    """The batch of a training step from what `ContrastViews` makes; views travel as bytes."""
    second, local, content = (
        torch.stack([sample.get(name).data for sample in data_samples]).to(inputs.device)
        for name in ("second_view", "local_view", "content")
    )
    second, local = (stepwise.batch(view.permute(0, 2, 3, 1)) for view in (second, local))
    return Batch(inputs, second, local, content[:, 0] > 0, image_labels(inputs, data_samples))


def image_labels(inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Tensor:
    """(N, C) multi-hot labels on the device of the images."""
    return torch.stack([sample.image_labels for sample in data_samples]).to(inputs.device)


@MODELS.register_module()
class TokenClassifier(TokenNetwork):
    """The same network with its two classifiers alone: what a narrow transformer is pre-trained as."""

    def terms(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Both classification losses."""
        main, auxiliary = self.image_logits(self.backbone(inputs))
        labels = image_labels(inputs, data_samples)
        return {
            "loss_cls": F.multilabel_soft_margin_loss(main, labels),
            "loss_aux": F.multilabel_soft_margin_loss(auxiliary, labels),
        }


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released checkpoint of ToCo or MCC onto this network; the ImageNet head is left out.

    The step that a training counts is not in it: training from it starts with step 0.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    head = {name: IMAGENET_HEAD for name in theirs if name.startswith("encoder.head.")}
    named = {_renamed(name): tensor for name, tensor in theirs.items() if name not in head}
    classes = theirs["classifier.weight"].shape[0] if "classifier.weight" in theirs else 20
    expected = expected_state(lambda: TokenNetwork(classes, dimensions(theirs, "encoder.")))
    return account(named, {"encoder": "backbone"} | HEADS, expected, head)


def _renamed(name: str) -> str:
    for old, new in WEIGHT_NORM.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
