"""One training step of ToCo; MCC takes its place of local views only (spec `mcc`, sections 1.3, 3 and 13)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from harness.ops.dense_energy import Gradient, Kernel, dense_energy_loss
from harness.ops.pixel_adaptive import PixelAdaptive
from methods.modules.refined_labels import Thresholds, refined_labels, resize, stored_image
from methods.modules.vit import Tokens
from methods.toco import crops
from methods.toco.heads import follow
from methods.toco.labels import affinity_labels, interest
from methods.toco.losses import affinity_loss, balanced_cross_entropy, pair_labels, token_contrast
from methods.toco.network import Batch, TokenNetwork, gather

MAIN, AUXILIARY = 0, 1  # of the class maps
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Of the terms in the total loss."""

    cls: float = 1.0
    aux: float = 1.0
    affinity: float = 0.2
    contrast: float = 0.5
    seg: float = 0.1
    reg: float = 0.05


@dataclass(frozen=True)
class Phases:
    """First iteration, counted from 0, from which on something holds; None: never.

    Attributes:
        contrast: the affinity and the contrastive term count.
        seg: the decoder's terms count.
        main_labels: the decoder learns from the main class maps, before from the auxiliary ones.
        main_views: local views are judged by the main class maps, before by the auxiliary ones.
    """

    contrast: int | None = 0
    seg: int | None = 2001
    main_labels: int | None = 0
    main_views: int | None = None

    def warn(self, steps: int) -> None:
        """Log which phases a training of so many steps never comes to."""
        late = {name: first for name, first in vars(self).items() if first is not None and first >= steps}
        if late:
            _log.warning(
                "this training ends after %d steps, before %s: change stages.*.model.phases with "
                "train_cfg.max_iters, or the losses that wait for them count nothing",
                steps,
                " and ".join(f"phases.{name}={first}" for name, first in late.items()),
            )


def reached(iteration: int, first: int | None) -> bool:
    """Whether a phase has begun."""
    return first is not None and iteration >= first


@MODELS.register_module()
class ToCo(TokenNetwork):
    """Token contrast with local crops.

    Args:
        num_classes: foreground classes.
        backbone: arguments of a `ViT`.
        thresholds: arguments of `Thresholds`.
        weights: arguments of `Weights` that differ.
        phases: arguments of `Phases` that differ.
        local_views: per image.
        crop_size: side of a local crop in pixels.
        momentum: share of the teacher that stays in each step.
        temperature: of the contrastive loss.
        images_per_process: images over which the means of the affinity and of the segmentation loss go; the
            release's batch is one of several processes. None: the whole batch.
        mcc_extra_term: see `token_contrast`.
        scale_box_for_affinity: see `affinity_labels`.
        reg_kernel: of the energy, see `harness.ops.dense_energy`.
        released_reg_gradient: give the energy the released gradient, which is not that of its value.
        network: see `TokenNetwork`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Mapping[str, Any],
        *,
        thresholds: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
        phases: Mapping[str, int | None] | None = None,
        local_views: int = 8,
        crop_size: int = 96,
        momentum: float = 0.9,
        temperature: float = 0.5,
        images_per_process: int | None = None,
        mcc_extra_term: bool = True,
        scale_box_for_affinity: bool = False,
        reg_kernel: Kernel = "lattice",
        released_reg_gradient: bool = True,
        **network: Any,
    ) -> None:
        super().__init__(num_classes, backbone, **network)
        self.thresholds = Thresholds(**(thresholds or {}))
        self.weights, self.phases = Weights(**(weights or {})), Phases(**(phases or {}))
        self.local_views, self.crop_size = local_views, crop_size
        self.momentum, self.temperature = momentum, temperature
        self.images_per_process = images_per_process
        self.mcc_extra_term = mcc_extra_term
        self.scale_box_for_affinity = scale_box_for_affinity
        self.reg_kernel: Kernel = reg_kernel
        self.reg_gradient: Gradient = "released" if released_reg_gradient else "true"
        self.refine = PixelAdaptive("par")
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))
        self._next: int | None = None  # the same without asking the device

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._next = None

    def count(self) -> int:
        """Number of this step, from 0; it is kept with the network, so that a resumed training goes on."""
        if self._next is None:
            self._next = int(self.iteration)
            if steps := MessageHub.get_current_instance().get_info("max_iters", None):
                self.phases.warn(steps)
        now = self._next
        self._next = now + 1
        self.iteration += 1
        return now

    def terms(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        return self.loss(gather(inputs, data_samples))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """All terms of a step, weighted; beside them, unweighted, what is not always part of the total."""
        iteration = self.count()
        tokens = self.backbone(batch.image)
        logits = self.image_logits(tokens)
        maps = self.class_maps(batch.image, batch.labels, known=self.raw_maps(tokens))
        named = {
            name: F.multilabel_soft_margin_loss(values, batch.labels)
            for name, values in zip(("cls", "aux"), logits, strict=True)
        }
        follow(self.teacher, self.projector, self.momentum)
        if reached(iteration, self.phases.contrast):
            named |= self.contrast(batch, tokens, maps, iteration)
        named |= self.segmentation(batch, tokens, maps, iteration)
        empty = named.pop("empty_sides")
        # A part that does not count yet gets gradients of zero, not none: its weights decay all the same.
        idle = [parameter.sum() for parameter in self.projector.parameters() if parameter.requires_grad]
        named.setdefault("contrast", 0 * torch.stack(idle).sum())
        named.setdefault("affinity", torch.zeros_like(named["cls"]))
        weight = {name: getattr(self.weights, name) for name in named}
        if not reached(iteration, self.phases.seg):
            weight |= {"seg": 0.0, "reg": 0.0}
        losses = {f"loss_{name}": weight[name] * value for name, value in named.items()}
        shown = {name: named[name].detach() for name in ("affinity", "contrast", "seg", "reg")}
        return losses | shown | {"empty_sides": empty.to(shown["seg"].dtype)}

    def contrast(self, batch: Batch, tokens: Tokens, maps: Tensor, iteration: int) -> dict[str, Tensor]:
        """The terms between patch tokens and between class tokens.

        Args:
            batch: of the step.
            tokens: of the training crop.
            maps: (2, B, C, H, W) valid class maps.
            iteration: of the step, from 0.
        """
        grid = (tokens.patches.shape[-2], tokens.patches.shape[-1])
        labels = affinity_labels(
            maps[AUXILIARY],
            batch.content,
            grid,
            self.thresholds,
            scale_box=self.scale_box_for_affinity,
        )
        source = MAIN if reached(iteration, self.phases.main_views) else AUXILIARY
        local, positive = self.local_tokens(batch, maps[source], grid)
        affinity = [
            affinity_loss(features, pairs)
            for features, pairs in self.shares(tokens.patches, pair_labels(labels))
        ]
        return {
            "affinity": torch.stack(affinity).mean(),
            "contrast": self.views_contrast(self.global_tokens(batch, tokens), local, positive),
        }

    def global_tokens(self, batch: Batch, tokens: Tokens) -> Tensor:
        """Class tokens (2, B, D) of the global views; the first one has been seen already."""
        return torch.stack([tokens.class_token, self.class_tokens(batch.second)])

    def shares(self, first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Parts of two tensors over the batch, as `images_per_process` says."""
        size = self.images_per_process or len(first)
        return zip(first.split(size), second.split(size), strict=True)

    def class_tokens(self, images: Tensor) -> Tensor:
        """(B, D) class tokens of images (B, 3, H, W)."""
        return self.backbone(images).class_token

    def local_tokens(self, batch: Batch, maps: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Class tokens (V, B, D) of the local views, and which of these are positive, (B, V) bool.

        Args:
            batch: of the step.
            maps: (B, C, H, W) valid class maps that judge the views.
            grid: h, w of the patches.
        """
        region = interest(maps, self.thresholds)
        corners = crops.crop_corners(region, self.local_views, self.crop_size)
        views = crops.cut(batch.local, corners, self.crop_size)
        shown = crops.cut(region, corners, self.crop_size)
        tokens = self.class_tokens(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        return tokens, crops.positives(shown)

    def views_contrast(self, views: Tensor, local: Tensor, positive: Tensor) -> Tensor:
        """The contrastive term of class tokens.

        Args:
            views: (2, B, D) of the global views.
            local: (V, B, D) of the local views.
            positive: (B, V) bool, of the local views.
        """
        student, teacher = self.project(views, local)
        positive = F.pad(positive, (len(views), 0), value=True)
        return token_contrast(
            student,
            teacher,
            positive,
            temperature=self.temperature,
            extra_term=self.mcc_extra_term,
        )

    def project(self, views: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the student (2 + V, B, E) and of the teacher (2, B, E), which sees the same tokens."""
        everything = torch.cat([views, local])
        student = self.projector(everything.flatten(0, 1)).unflatten(0, everything.shape[:2])
        with torch.no_grad():
            teacher = self.teacher(views.detach().flatten(0, 1)).unflatten(0, views.shape[:2])
        return student, teacher

    def pseudo_labels(self, batch: Batch, maps: Tensor, iteration: int) -> Tensor:
        """(B, H, W) int64 labels of the decoder, from class maps (2, B, C, H, W)."""
        source = MAIN if reached(iteration, self.phases.main_labels) else AUXILIARY
        return refined_labels(
            stored_image(batch.image) / 255,
            maps[source],
            batch.labels,
            batch.content,
            self.thresholds,
            self.refine,
        )

    def segmentation(self, batch: Batch, tokens: Tokens, maps: Tensor, iteration: int) -> dict[str, Tensor]:
        """The terms of the decoder; arguments as in `contrast`.

        The energy is not computed before it counts, and 0 until then.
        """
        labels = self.pseudo_labels(batch, maps, iteration)
        logits = resize(self.decoder(tokens.patches), (labels.shape[-2], labels.shape[-1]))
        found = [balanced_cross_entropy(*share) for share in self.shares(logits, labels)]
        loss = torch.stack([share.loss for share in found]).mean()
        energy = torch.zeros_like(loss)
        if self.weights.reg and reached(iteration, self.phases.seg):
            energy = self.energy(batch, logits, labels)
        return {"seg": loss, "reg": energy, "empty_sides": torch.stack([s.empty for s in found]).sum()}

    def energy(self, batch: Batch, logits: Tensor, labels: Tensor) -> Tensor:
        """The dense energy of logits (B, K, H, W) with their labels (B, H, W)."""
        return dense_energy_loss(
            stored_image(batch.image, truncate=False),
            logits.softmax(1),
            batch.content,
            labels,
            kernel=self.reg_kernel,
            gradient=self.reg_gradient,
        )
