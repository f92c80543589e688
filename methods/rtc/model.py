"""The network of RTC and one training step of it (spec `rtc`, sections 3 and 5)."""

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
from harness.ops.pixel_adaptive import PixelAdaptive
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.modules.equivariance import resize
from methods.modules.prototypes import (
    BACKGROUND_PIXELS,
    BackgroundChoice,
    Confident,
    Pair,
    confident_pixels,
    contrast,
    log_probabilities,
    normalised_cam,
    prototypes,
    pseudo_labels,
)
from methods.modules.refined_labels import Thresholds
from methods.modules.resnet38 import ResNet38, Stages
from methods.modules.whole_batch import whole_batch
from methods.rtc.compensator import class_relation, compensate, structure_loss
from methods.rtc.labels import balanced_cross_entropy, pseudo_masks
from methods.rtc.network import CrossRepresentation, SegmentationBranch, View, convolution
from methods.seam.model import BACKGROUND, view_classification, view_equivariance

CONTRAST_WEIGHT = 0.1  # of each contrastive term in the total loss


class Guidance(NamedTuple):
    """What a step learns from its own CAMs, on the common grid of both views; without gradient.

    Attributes:
        cams: (n, K, h, w) stretched CAMs of both views.
        labels: (n, h, w) pseudo labels of both views.
        confident: pixels of both views; a view's are looked up in the other's features.
        prototypes: (K, D) of both views, made of these.
        content: (n, h, w) bool, the pixels that count; None: all of them.
        present: (K,) bool, classes that some image of the batch has.
    """

    cams: Pair
    labels: Pair
    confident: tuple[Confident, Confident]
    prototypes: Pair
    content: Tensor | None
    present: Tensor


@MODELS.register_module()
class RTC(BaseModel):
    """Wide ResNet-38 with a CAM on an embedding, its refinement from two depths, and a segmentation branch.

    n is the batch, K the channels with background, which is the first.

    Args:
        num_classes: foreground classes.
        backbone: config of a `ResNet38`.
        view_size: side of the second view in pixels.
        background_score: constant of the background channel in pseudo labels.
        background_pixels: which pixels make the background's prototype, see `BACKGROUND_PIXELS`.
        mask_padding: leave the canvas around the image out of CAM statistics, prototypes and contrast. The
            release does not.
        temperature: of the contrast.
        seg_from: iteration, counted from 0, from which on the segmentation branch is trained.
        thresholds: background scores between which a pixel of a pseudo mask is undecided, `low` and `high`.
        embedding: channels that the CAM is a linear map of.
        dropout: probability that a channel of the trunk's last map is left out before the CAM. Narrow trunks,
            whose few channels are not redundant, train without.
        segmentation: arguments of `SegmentationBranch` that differ.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        view_size: int = 128,
        background_score: float = 0.20,
        background_pixels: BackgroundChoice = "first",
        mask_padding: bool = False,
        temperature: float = 0.1,
        seg_from: int = 0,
        thresholds: Mapping[str, float] | None = None,
        embedding: int = 256,
        dropout: float = 0.5,
        segmentation: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.view_size, self.background_score = view_size, background_score
        self.background_pixels = BACKGROUND_PIXELS[background_pixels]
        self.mask_padding, self.temperature = mask_padding, temperature
        self.seg_from = seg_from
        self.thresholds = Thresholds(**(thresholds or {"low": 0.20, "high": 0.55}))
        self.refine = PixelAdaptive("varm")
        self.backbone: ResNet38 = MODELS.build(backbone)
        self.dropout = nn.Dropout2d(dropout)
        self.proj1 = convolution(self.backbone.out_channels, embedding)
        self.classifier1 = convolution(embedding, num_classes + 1)
        for layer in (self.proj1, self.classifier1):
            nn.init.xavier_uniform_(layer.weight)
        self.refinement = CrossRepresentation(self.backbone, BACKGROUND)
        self.segmentation = SegmentationBranch(self.backbone, num_classes + 1, **(segmentation or {}))
        # Steps done so far: kept with the network, so that a resumed training goes on from there.
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))
        self._next: int | None = None  # the same without asking the device

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._next = None

    def count(self) -> int:
        """Number of this step, from 0."""
        now = int(self.iteration) if self._next is None else self._next
        self._next = now + 1
        self.iteration += 1
        return now

    def view(self, image: Tensor, *, segment: bool) -> View:
        """Maps of a view (n, 3, H, W), normalised.

        Args:
            image: the view.
            segment: run the segmentation branch.
        """
        stages = self.backbone(image)
        embedding = F.relu(self.proj1(self.dropout(stages.conv6)))
        cam = self.classifier1(embedding)
        refined = self.refinement(image, stages, cam)
        size = image.shape[-2:]
        seg = self.segmentation(stages) if segment else None
        return View(resize(cam, size), resize(refined, size), embedding, refined, seg)

    def class_scores(self, inputs: Tensor) -> Tensor:
        """(n, K - 1) probabilities that images (n, 3, H, W) have the classes, as they gate the prediction."""
        return self._gates(self.backbone(inputs), inputs.shape[-2:])[:, 1:]

    def segment(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability (n, K) that an image has a class, and logits (n, K, H/4, W/4) of its pixels.

        Without pixel correlation, which prediction does not need.
        """
        stages = self.backbone(images)
        return self._gates(stages, images.shape[-2:]), self.segmentation(stages)

    def _gates(self, stages: Stages, size: torch.Size) -> Tensor:
        cam = self.classifier1(F.relu(self.proj1(self.dropout(stages.conv6))))
        return resize(cam, size).mean((2, 3)).sigmoid()

    def loss(self, image: Tensor, content: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """All terms of a training step.

        Args:
            image: (n, 3, H, W) normalised.
            content: (n, H, W) bool, where the image is.
            labels: (n, K - 1) multi-hot.
        """
        segment = self.count() >= self.seg_from
        size = (self.view_size, self.view_size)
        first = self.view(image, segment=segment)
        second = self.view(resize(image, size), segment=False)
        losses = self.two_view_losses(first, second, content, labels)
        if first.seg is None:
            return losses
        masks = pseudo_masks(image, first.refined_small, labels, content, self.thresholds, self.refine)
        return losses | {"loss_seg": balanced_cross_entropy(first.seg, masks, labels).mean()}

    def two_view_losses(
        self, first: View, second: View, content: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """The terms of both views, without the segmentation branch; arguments as in `loss`."""
        present = torch.cat([torch.ones_like(labels[:, :1]), labels], dim=1)
        parts = [*view_classification(first[:2], labels), *view_classification(second[:2], labels)]
        equivariance = view_equivariance(first[:2], second[:2], labels)
        size = second.embedding.shape[-2:]
        features = (resize(first.embedding, size), second.embedding)
        guidance = self.guide((first.refined_small, second.refined_small), features, content, present)
        structure = [
            structure_loss(cam, compensated, present)
            for cam, compensated in zip(
                equivariance.maps, self.compensated(features, guidance, F.pad(labels, (1, 0))), strict=True
            )
        ]
        return {
            "loss_cls": torch.stack(parts).sum() / 2,
            "loss_er": equivariance.er,
            "loss_ecr": equivariance.ecr,
            **self.contrasts(features, guidance),
            "loss_struct": structure[0] + structure[1],
            "class_relation": class_relation(*guidance.prototypes, guidance.present),
        }

    @torch.no_grad()
    def guide(self, refined: Pair, features: Pair, content: Tensor, present: Tensor) -> Guidance:
        """What the step learns from; prototypes and confident pixels are those of all processes' batches.

        Args:
            refined: (n, K, h', w') refined CAMs of the views.
            features: (n, D, h, w) of the views, on the second's grid.
            content: (n, H, W) bool, where the image is.
            present: (n, K) multi-hot, background set.
        """
        size = features[1].shape[-2:]
        small = F.interpolate(content[:, None].float(), size=size)[:, 0] > 0 if self.mask_padding else None
        cams = tuple(normalised_cam(resize(maps, size), self.background_score, small) for maps in refined)
        labels = tuple(pseudo_labels(cam, present) for cam in cams)
        content_everywhere = None if small is None else whole_batch(small)
        first, second = (
            confident_pixels(
                whole_batch(cam),
                whole_batch(label),
                whole_batch(other),
                self.background_pixels,
                content_everywhere,
            )
            for cam, label, other in zip(cams, labels, features[::-1], strict=True)
        )
        return Guidance(
            (cams[0], cams[1]),
            (labels[0], labels[1]),
            (first, second),
            (prototypes(first), prototypes(second)),
            small,
            whole_batch(present).amax(0) > 0,
        )

    @torch.no_grad()
    def compensated(self, features: Pair, guidance: Guidance, chosen: Tensor) -> Pair:
        """CAMs (n, K, h, w) of both views after `compensate`, each with the other's features.

        Args:
            features: as in `guide`.
            guidance: of the same views.
            chosen: (n, K) multi-hot, which classes to compensate in which image.
        """
        first, second = (
            compensate(cam, other, confident, chosen)
            for cam, other, confident in zip(guidance.cams, features[::-1], guidance.confident, strict=True)
        )
        return first, second

    def contrasts(self, features: Pair, guidance: Guidance) -> dict[str, Tensor]:
        """The three contrastive terms; arguments as in `guide`."""
        (own, across), (label, label_across) = guidance.prototypes, guidance.labels
        # Per view: log-probabilities by the first and by the second view's prototypes.
        by_first, by_second = (log_probabilities(maps, (own, across), self.temperature) for maps in features)
        pairs = {
            "loss_intra": ((by_first[0], label), (by_second[1], label_across)),
            "loss_cross_label": ((by_first[0], label_across), (by_second[1], label)),
            "loss_cross_prototype": ((by_first[1], label), (by_second[0], label_across)),
        }
        found = {}
        for name, both in pairs.items():
            terms = [contrast(values, targets, guidance.content) for values, targets in both]
            found[name] = CONTRAST_WEIGHT * torch.stack(terms).mean()
        return found

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives refined CAMs (n, K - 1, H, W), `predict` sets `cam`.

        Masks are predicted by the segmentation branch, see `methods.rtc.inference`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.view(inputs, segment=False).refined[:, 1:]
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.stack([sample.image_labels for sample in data_samples]).to(inputs.device)
            content = torch.stack([sample.content.data[0] for sample in data_samples]).to(inputs.device)
            return self.loss(inputs, content > 0, labels)
        if mode == "predict":
            for sample, cam in zip(data_samples, self(inputs), strict=True):
                sample.cam = PixelData(data=cam)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


BRANCH = {
    **{f"fc8_seg_conv{i}": f"segmentation.conv{i}" for i in range(1, 6)},
    "proj2": "segmentation.proj",
    "classifier2": "segmentation.classifier",
}
UNUSED = {
    "fc8": "a layer that the released network has and never runs",
    "_aff": "constant kernels of a refinement that the released network has and never runs",
}


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map the released checkpoint (`rtc_contrast_best.pth`, spec section 10) onto `RTC`.

    The steps of a training that starts from it are counted from 0.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["classifier1.weight"].shape[0] - 1 if "classifier1.weight" in theirs else 20
    dropped = {name: UNUSED[first] for name in theirs if (first := name.split(".")[0]) in UNUSED}
    used = {name: tensor for name, tensor in theirs.items() if name not in dropped}
    expected = expected_state(lambda: RTC(classes, {"type": "ResNet38"}))
    del expected["iteration"]
    trunk = {name: f"backbone.{name}" for name in expected_state(ResNet38)}
    refinement = {name: f"refinement.{name}" for name in ("f8_3", "f8_4", "f8_5", "f9_1", "f9_2")}
    heads = {name: name for name in ("proj1", "classifier1")}
    conversion = account(used, trunk | refinement | BRANCH | heads, expected, dropped)
    conversion.state["iteration"] = torch.tensor(0)
    return conversion
