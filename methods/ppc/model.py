"""PPC on SEAM: contrast of pixels with prototypes of both views (spec `rtc`, section 8.2).

Source: Du, Fu, Liu, Wang, "Weakly Supervised Semantic Segmentation by Pixel-to-Prototype Contrast", CVPR
2022, as released.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.modules.equivariance import resize
from methods.modules.prototypes import (
    BACKGROUND_PIXELS,
    BackgroundChoice,
    Pair,
    confident_pixels,
    contrast,
    log_probabilities,
    normalised_cam,
    prototypes,
    pseudo_labels,
)
from methods.modules.resnet38 import ResNet38
from methods.modules.whole_batch import whole_batch
from methods.ppc.mining import mined_contrast
from methods.seam.model import SEAM, View, view_classification, view_equivariance

CONTRAST_WEIGHT = 0.1  # of each contrastive term in the total loss


class Maps(NamedTuple):
    """What the network makes of a view (n, 3, H, W); h, w are an eighth of H, W.

    Attributes:
        cam: (n, K, H, W) logits, background first.
        refined: (n, K, H, W), the CAM after pixel correlation.
        embedding: (n, D, h, w), not negative.
        refined_small: (n, K, h, w), `refined` before it was enlarged.
    """

    cam: Tensor
    refined: Tensor
    embedding: Tensor
    refined_small: Tensor


class Guidance(NamedTuple):
    """Prototypes (K, D) and pseudo labels (n, h, w) of both views, on the second's grid; without gradient."""

    prototypes: Pair
    labels: Pair


@MODELS.register_module()
class PPC(SEAM):
    """SEAM with a projection of the trunk's features, whose pixels are contrasted with prototypes.

    Args:
        num_classes: foreground classes.
        backbone: config of a `ResNet38`.
        view_size: side of the second view in pixels.
        background_score: constant of the background channel in pseudo labels.
        background_pixels: which pixels make the background's prototype, see `BACKGROUND_PIXELS`.
        temperature: of the contrast.
        hard: ranks of the negatives in the contrast within a view, see `semi_hard`.
        embedding: channels of the projection.
        dropout: probability that a channel of the trunk's last map is left out. Narrow trunks, whose few
            channels are not redundant, train without.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        view_size: int = 128,
        background_score: float = 0.20,
        background_pixels: BackgroundChoice = "first",
        temperature: float = 0.1,
        hard: tuple[int, int] = (3, 13),
        embedding: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes, backbone)
        self.dropout = nn.Dropout2d(dropout)
        self.view_size, self.background_score = view_size, background_score
        self.background_pixels = BACKGROUND_PIXELS[background_pixels]
        self.temperature, self.hard = temperature, (hard[0], hard[1])
        self.fc_proj = nn.Conv2d(self.backbone.out_channels, embedding, 1, bias=False)
        nn.init.xavier_uniform_(self.fc_proj.weight)

    def maps(self, image: Tensor) -> Maps:
        """Maps of a view (n, 3, H, W), normalised."""
        stages, size = self.backbone(image), image.shape[-2:]
        dropped = self.dropout(stages.conv6)
        cam = self.fc8(dropped)
        refined = self.correlation(image, stages, cam)
        return Maps(resize(cam, size), resize(refined, size), F.relu(self.fc_proj(dropped)), refined)

    def view(self, image: Tensor) -> View:
        """CAM logits and refined CAM (n, K, H, W) of images (n, 3, H, W), background first."""
        maps = self.maps(image)
        return maps.cam, maps.refined

    def loss(self, image: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms of a training step for images (n, 3, H, W) and multi-hot labels (n, K - 1)."""
        first, second = self.maps(image), self.maps(resize(image, (self.view_size, self.view_size)))
        grid = second.embedding.shape[-2:]
        priority = torch.rand(2, len(image), *grid, device=image.device)
        return self.losses(first, second, labels, priority)

    def losses(self, first: Maps, second: Maps, labels: Tensor, priority: Tensor) -> dict[str, Tensor]:
        """All terms, from what the network made of both views.

        Args:
            first, second: the views; the second's grid is the common one.
            labels: (n, K - 1) multi-hot.
            priority: (2, n, h, w), by which pixels are chosen in each view; see `pixel_weights`.
        """
        parts = [*view_classification(first[:2], labels), *view_classification(second[:2], labels)]
        equivariance = view_equivariance(first[:2], second[:2], labels)
        size = second.embedding.shape[-2:]
        features = (resize(first.embedding, size), second.embedding)
        guidance = self.guide((first.refined_small, second.refined_small), features, labels)
        return {
            "loss_cls": torch.stack(parts).sum() / 2,
            "loss_er": equivariance.er,
            "loss_ecr": equivariance.ecr,
            **self.contrasts(features, guidance, priority),
        }

    @torch.no_grad()
    def guide(self, refined: Pair, features: Pair, labels: Tensor) -> Guidance:
        """Prototypes of all processes' batches, each view's of its own features.

        Args:
            refined: (n, K, h', w') refined CAMs of the views.
            features: (n, D, h, w) of the views, on the second's grid.
            labels: (n, K - 1) multi-hot.
        """
        size = features[1].shape[-2:]
        present = torch.cat([torch.ones_like(labels[:, :1]), labels], dim=1)
        tables, marked = [], []
        for maps, of_view in zip(refined, features, strict=True):
            cam = normalised_cam(resize(maps, size), self.background_score)
            label = pseudo_labels(cam, present)
            confident = confident_pixels(
                whole_batch(cam), whole_batch(label), whole_batch(of_view), self.background_pixels
            )
            tables.append(prototypes(confident))
            marked.append(label)
        return Guidance((tables[0], tables[1]), (marked[0], marked[1]))

    def contrasts(self, features: Pair, guidance: Guidance, priority: Tensor) -> dict[str, Tensor]:
        """The three contrastive terms; arguments as in `guide` and `losses`."""
        label, other_label = guidance.labels
        own, across = log_probabilities(features[0], guidance.prototypes, self.temperature)
        other_across, other_own = log_probabilities(features[1], guidance.prototypes, self.temperature)
        # The classes of the whole batch weigh alike, so that no process can do this for its part alone.
        intra = [
            mined_contrast(
                whole_batch(maps),
                whole_batch(marked),
                prototypes_of_view,
                whole_batch(chosen),
                temperature=self.temperature,
                hard=self.hard,
            )
            for maps, marked, prototypes_of_view, chosen in zip(
                features, guidance.labels, guidance.prototypes, priority, strict=True
            )
        ]
        pairs = {
            "loss_cross_prototype": contrast(across, label) + contrast(other_across, other_label),
            "loss_cross_label": contrast(own, other_label) + contrast(other_own, label),
            "loss_intra": intra[0] + intra[1],
        }
        return {name: CONTRAST_WEIGHT * both / 2 for name, both in pairs.items()}


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released PPC checkpoint onto `PPC`.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    classes = theirs["fc8.weight"].shape[0] - 1 if "fc8.weight" in theirs else 20
    trunk = {name: f"backbone.{name}" for name in expected_state(ResNet38)}
    correlation = {name: f"correlation.{name}" for name in ("f8_3", "f8_4", "f9")}
    expected = expected_state(lambda: PPC(classes, {"type": "ResNet38"}))
    return account(theirs, trunk | correlation | {"fc8": "fc8", "fc_proj": "fc_proj"}, expected)
