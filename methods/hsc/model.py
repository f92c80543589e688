"""The network of HSC and one training step of it (spec `hsc`, sections 3 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.eps.model import EPS
from methods.hsc import contrast
from methods.hsc.label_crf import LABEL_CRFS, Pending
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.modules.equivariance import (
    PixelCorrelation,
    adaptive_min_pooling,
    equivariance_losses,
    resize,
)
from methods.modules.resnet38 import ResNet38
from methods.modules.whole_batch import whole_batch


class Maps(NamedTuple):
    """What the network makes of a view; h, w are an eighth of the view's size.

    Attributes:
        cam: (n, K, h, w) logits, background last.
        refined: (n, K, h, w), the CAM after the pixel correlation module.
        pixels: (n, 128, h, w), projection for the pixel level, not negative.
        regions: (n, 256, h, w), projection for the region and class level.
    """

    cam: Tensor
    refined: Tensor
    pixels: Tensor
    regions: Tensor


@MODELS.register_module()
class HSC(EPS):
    """Wide ResNet-38 with a CAM, its refinement by pixel correlation, and two projections.

    Args:
        num_classes: foreground classes.
        backbone: config of a `ResNet38`.
        view_size: side of the second view in pixels.
        tau, alpha: of the saliency loss.
        background_score: constant of the background channel in pseudo labels.
        ecr_bg_first_quirk: let the channels 1 to K - 1 compete in the targets of ECR, as the release does,
            whose routine was made for background first; else the foreground classes.
        roi_norm_dim: see `contrast.roi_contrast`.
        sal_on_refined: give the refined CAMs to the saliency loss, too, where every class counts as
            background (see `saliency_loss`).
        label_crf: on the pseudo labels: `lattice` as released, on the CPU, or `exact`, on the model's device.
        top_loss, top_update: see `contrast.class_contrast`.
        psc_bg_prototype: of the pixel level: `ties`, the best pixels of a constant map as released, or
            `masked`, the pixels labelled background.
        bank_init: what the prototypes of the past start from: `normal`, noise as released, which at the pixel
            level is longer than any feature, or `zeros`, which pull at nothing before there is a past.
        pixel_channels, region_channels: widths of the two projections.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        view_size: int = 128,
        tau: float = 0.5,
        alpha: float = 0.5,
        background_score: float = 0.10,
        ecr_bg_first_quirk: bool = True,
        roi_norm_dim: int = 3,
        sal_on_refined: bool = True,
        label_crf: Literal["lattice", "exact"] = "lattice",
        top_loss: int = 128,
        top_update: int = 16,
        psc_bg_prototype: Literal["ties", "masked"] = "ties",
        bank_init: Literal["normal", "zeros"] = "normal",
        pixel_channels: int = 128,
        region_channels: int = 256,
    ) -> None:
        super().__init__(num_classes, backbone, tau=tau, alpha=alpha)
        self.view_size = view_size
        self.background_score = background_score
        self.ecr_passing = 0 if ecr_bg_first_quirk else num_classes
        self.roi_norm_dim = roi_norm_dim
        self.top_loss, self.top_update = top_loss, top_update
        self.sal_on_refined = sal_on_refined
        self.top = contrast.top_positions
        self.masked_background = psc_bg_prototype == "masked"
        self.label_crf = LABEL_CRFS[label_crf]
        width, channels = self.backbone.out_channels, num_classes + 1
        self.correlation = PixelCorrelation(
            self.backbone.conv4_channels, self.backbone.conv5_channels, background=num_classes
        )
        self.proj_fc = nn.Conv2d(width, pixel_channels, 1, bias=False)
        self.extra_F = nn.Sequential(
            nn.Conv2d(width, region_channels, 3, padding=1),
            nn.BatchNorm2d(region_channels),
            nn.ReLU(),
            nn.Conv2d(region_channels, region_channels, 1),
        )
        # The release freezes every norm, this new one too: it stays what it is before the first step.
        self.extra_F[1].requires_grad_(False)
        nn.init.xavier_uniform_(self.proj_fc.weight)
        self._make_banks(
            torch.randn if bank_init == "normal" else torch.zeros,
            regions=(2, region_channels),
            classes=(channels, region_channels),
            pixels=(channels, pixel_channels),
        )

    def _make_banks(self, make: Callable[..., Tensor], **shapes: tuple[int, int]) -> None:
        """Prototypes of both views; a checkpoint holds them, the release's does not."""
        for name, shape in shapes.items():
            for view in (1, 2):
                self.register_buffer(f"bank_{name}_{view}", make(shape))

    def train(self, mode: bool = True) -> HSC:
        """Switch the mode of all but the norm of `extra_F`, which keeps its first statistics."""
        super().train(mode)
        self.extra_F[1].eval()
        return self

    def banks(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors of all prototypes."""
        return ((name, bank) for name, bank in self.named_buffers() if name.startswith("bank_"))

    def bank(self, name: str) -> tuple[Tensor, Tensor]:
        """The prototypes of both views: `regions` (2, 256), `classes` (K, 256) or `pixels` (K, 128)."""
        return getattr(self, f"bank_{name}_1"), getattr(self, f"bank_{name}_2")

    def _keep(self, name: str, banks: tuple[Tensor, Tensor]) -> None:
        for bank, new in zip(self.bank(name), banks, strict=True):
            bank.copy_(new)

    def maps(self, image: Tensor) -> Maps:
        """Maps of a view (n, 3, H, W), normalised."""
        stages = self.backbone(image)
        cam = self.fc8(stages.conv6)
        refined = self.correlation(image, stages, cam)
        return Maps(cam, refined, F.relu(self.proj_fc(stages.conv6)), self.extra_F(stages.conv6))

    def loss(self, image: Tensor, saliency: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """All terms of a training step; updates the banks.

        Args:
            image: (n, 3, H, W) normalised, n at least 2.
            saliency: (n, 1, H, W) in [0, 1].
            labels: (n, K - 1) multi-hot.
        """
        size = (self.view_size, self.view_size)
        images = (image, resize(image, size))
        saliencies = (saliency, resize(saliency, size))
        first, second = (Maps(*(maps.float() for maps in self.maps(view))) for view in images)
        views = (first, second)
        present = torch.cat([labels, torch.ones_like(labels[:, :1])], dim=1)
        with torch.autocast(image.device.type, enabled=False):  # only the network may run in half precision
            cams, pending = self.propose(views, images[1], present)
            # A GPU has these to compute while the CRF keeps the CPU busy.
            alone = {
                "loss_cls": self._classification(views, labels, present),
                "loss_sal": self._saliencies(views, saliencies, labels),
                **self._equivariance(views, present),
            }
            return alone | self.contrast(views, cams, pending(), present)

    def _classification(self, views: tuple[Maps, Maps], labels: Tensor, present: Tensor) -> Tensor:
        total = torch.zeros((), device=labels.device)
        for view in views:
            logits = view.cam.mean((2, 3))[:, :-1]
            quiet = (view.refined * present[:, :, None, None])[:, :-1]
            total = total + F.multilabel_soft_margin_loss(logits, labels) + adaptive_min_pooling(quiet)
        return total / 2

    def _saliencies(
        self, views: tuple[Maps, Maps], saliencies: tuple[Tensor, Tensor], labels: Tensor
    ) -> Tensor:
        total = torch.zeros((), device=labels.device)
        for view, saliency in zip(views, saliencies, strict=True):
            for cam in (view.cam, view.refined) if self.sal_on_refined else (view.cam,):
                total = total + self.saliency(cam, saliency, labels)
        return total / 2

    def _equivariance(self, views: tuple[Maps, Maps], present: Tensor) -> dict[str, Tensor]:
        first, second = views
        losses = equivariance_losses(
            (first.cam, second.cam),
            (first.refined, second.refined),
            present,
            background=self.num_classes,
            passing=self.ecr_passing,
        )
        return {"loss_er": losses.er, "loss_ecr": losses.ecr}

    @torch.no_grad()
    def propose(
        self, views: tuple[Maps, Maps], image: Tensor, present: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Pending]:
        """Normalised CAMs (n, K, h, w) of both views on the second one's grid, and their pseudo labels to be.

        Args:
            views: maps of both views.
            image: the second view (n, 3, H, W), for the CRF.
            present: (n, K) multi-hot, background set.
        """
        size = views[1].refined.shape[-2:]
        first, second = (
            contrast.normalise_cam(resize(view.refined, size), self.background_score) for view in views
        )
        labels = torch.stack([contrast.pseudo_labels(cam, present) for cam in (first, second)])
        return (first, second), self.label_crf(resize(image, size), labels, self.num_classes + 1)

    def contrast(
        self, views: tuple[Maps, Maps], cams: tuple[Tensor, Tensor], labels: Tensor, present: Tensor
    ) -> dict[str, Tensor]:
        """The contrastive terms on the second view's grid, over all processes' batches; updates the banks.

        Args:
            views: maps of both views.
            cams: (n, K, h, w) of `propose`.
            labels: (2, n, h, w) pseudo labels of both views.
            present: (n, K) multi-hot, background set.
        """
        size = cams[1].shape[-2:]
        regions, pixels = (
            tuple(whole_batch(resize(maps, size)) for maps in pair)
            for pair in zip(*((view.regions, view.pixels) for view in views), strict=True)
        )
        cams = tuple(whole_batch(cam) for cam in cams)
        labels = tuple(whole_batch(label) for label in labels)
        present = whole_batch(present)
        terms = {
            "regions": contrast.roi_contrast(
                regions,
                labels,
                self.bank("regions"),
                background=self.num_classes,
                norm_dim=self.roi_norm_dim,
            ),
            "classes": contrast.class_contrast(
                regions,
                cams,
                present,
                self.bank("classes"),
                top_loss=self.top_loss,
                top_update=self.top_update,
            ),
            "pixels": contrast.pixel_contrast(
                pixels,
                cams,
                labels,
                self.bank("pixels"),
                top=self.top,
                masked_background=self.masked_background,
            ),
        }
        for name, term in terms.items():
            self._keep(name, term.banks)
        return {
            "loss_rsc": terms["regions"].loss,
            "loss_csc": terms["classes"].loss,
            "loss_psc": terms["pixels"].loss,
        }


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released checkpoint (`HSC_eps_v2.pth`, spec section 14) onto `HSC`.

    Banks are not in it; training from it starts with those of the new model.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["fc8.weight"].shape[0] - 1 if "fc8.weight" in theirs else 20
    expected = expected_state(lambda: HSC(classes, {"type": "ResNet38"}))
    expected = {name: tensor for name, tensor in expected.items() if not name.startswith("bank_")}
    trunk = {name: f"backbone.{name}" for name in expected_state(ResNet38)}
    heads = {name: name for name in ("fc8", "proj_fc", "extra_F")}
    correlation = {name: f"correlation.{name}" for name in ("f8_3", "f8_4", "f9")}
    return account(theirs, trunk | heads | correlation, expected)
