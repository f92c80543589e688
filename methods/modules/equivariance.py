"""What SEAM brought and PPC, HSC and RTC build on: pixel correlation, and losses between two views.

Source: Wang, Zhang, Kan, Shan, Chen, "Self-Supervised Equivariant Attention Mechanism for Weakly Supervised
Semantic Segmentation", CVPR 2020, as released (spec `hsc`, sections 3 and 5; spec `rtc`, SEAM's section).

Maps have one channel per class and one for background, which SEAM puts first and HSC last; `background` is
its index.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.modules.resnet38 import Stages

EPS = 1e-5


def resize(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear resize of (N, C, h, w) with aligned corners, as between all maps of this family."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)


def max_norm(maps: Tensor) -> Tensor:
    """ReLU, then every channel of every sample stretched to [0, 1]: (N, C, h, w) to the same."""
    maps = F.relu(maps)
    high = maps.amax((2, 3), keepdim=True)
    low = maps.amin((2, 3), keepdim=True)
    return F.relu(maps - low - EPS) / (high - low + EPS)


def best_class(maps: Tensor, background: int) -> Tensor:
    """Largest value of a pixel over all channels but background's: (N, C, h, w) to (N, 1, h, w)."""
    return torch.cat([maps[:, :background], maps[:, background + 1 :]], dim=1).amax(1, keepdim=True)


def with_background_complement(maps: Tensor, background: int) -> Tensor:
    """Replace the background channel of (N, C, h, w) by 1 minus the best class of the pixel."""
    complement = 1 - best_class(maps, background)
    return torch.cat([maps[:, :background], complement, maps[:, background + 1 :]], dim=1)


def competing_cam(cam: Tensor, background: int) -> Tensor:
    """CAM that enters the pixel correlation module: background complement, one class kept per pixel.

    Args:
        cam: (N, C, h, w) logits.
        background: index of the background channel.
    """
    activation = F.relu(cam)
    maps = F.relu(activation - EPS) / (activation.amax((2, 3), keepdim=True) + EPS)
    keep = maps >= best_class(maps, background)
    keep[:, background] = True
    return with_background_complement(maps, background) * keep


def pixel_correlation(cam: Tensor, embedding: Tensor) -> Tensor:
    """Refine a CAM by the similarity of pixels (PCM, SEAM section 3.3).

    Args:
        cam: (N, C, h', w'), resized to the embedding's grid.
        embedding: (N, D, h, w), before normalisation.

    Returns:
        (N, C, h, w): each pixel the mean of all, weighted by the non-negative cosine similarity.
    """
    samples, classes = cam.shape[:2]
    height, width = embedding.shape[-2:]
    flat = resize(cam, (height, width)).flatten(2)
    unit = embedding.flatten(2)
    unit = unit / (unit.norm(dim=1, keepdim=True) + EPS)
    affinity = F.relu(unit.transpose(1, 2) @ unit)
    affinity = affinity / (affinity.sum(1, keepdim=True) + EPS)
    return (flat @ affinity).view(samples, classes, height, width)


class PixelCorrelation(nn.Module):
    """Pixel correlation over the image and two levels of the trunk; it trains only its own convolutions.

    Args:
        conv4_channels, conv5_channels: widths of the trunk's maps.
        background: index of the background channel.
    """

    def __init__(self, conv4_channels: int, conv5_channels: int, background: int) -> None:
        super().__init__()
        self.background = background
        self.f8_3 = nn.Conv2d(conv4_channels, 64, 1, bias=False)
        self.f8_4 = nn.Conv2d(conv5_channels, 128, 1, bias=False)
        self.f9 = nn.Conv2d(3 + 64 + 128, 192, 1, bias=False)
        nn.init.kaiming_normal_(self.f8_3.weight)
        nn.init.kaiming_normal_(self.f8_4.weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def features(self, image: Tensor, stages: Stages) -> Tensor:
        """(N, 195, h, w): the image and both levels, embedded, on the trunk's grid; nothing flows back."""
        low = F.relu(self.f8_3(stages.conv4.detach()))
        middle = F.relu(self.f8_4(stages.conv5.detach()))
        return torch.cat([resize(image, low.shape[-2:]), low, middle], dim=1)

    def forward(self, image: Tensor, stages: Stages, cam: Tensor) -> Tensor:
        """Refined CAM (N, C, h, w).

        Args:
            image: (N, 3, H, W) normalised.
            stages: what the trunk made of it.
            cam: (N, C, h, w) logits.
        """
        competing = competing_cam(cam.detach(), self.background)
        return pixel_correlation(competing, self.f9(self.features(image, stages)))


def adaptive_min_pooling(maps: Tensor) -> Tensor:
    """Loss that asks the quietest quarter of all pixels to be silent: (N, C, h, w) to a scalar."""
    best = maps.amax(1).flatten(1)
    count = best.shape[1] // 4
    quietest = best.topk(count, dim=1, largest=False).values
    return F.relu(quietest).sum() / (count * maps.shape[0])


def max_one_hot(maps: Tensor, passing: int) -> Tensor:
    """Keep the largest of all channels but one, which passes as it is: (N, C, h, w) to the same."""
    competing = maps.clone()
    competing[:, passing] = -torch.inf
    kept = maps * (competing == competing.amax(1, keepdim=True))
    kept[:, passing] = maps[:, passing]
    return kept


class EquivarianceLosses(NamedTuple):
    """ER and, for the refined CAM of either view, ECR of SEAM; scalars.

    Attributes:
        maps: the CAMs that were compared, (N, C, h2, w2) of both views: stretched, on the second's grid, and
            0 for absent classes.
    """

    er: Tensor
    ecr_first: Tensor
    ecr_second: Tensor
    maps: tuple[Tensor, Tensor]

    @property
    def ecr(self) -> Tensor:
        """Both parts of ECR."""
        return self.ecr_first + self.ecr_second


def equivariance_losses(
    cams: tuple[Tensor, Tensor],
    refined: tuple[Tensor, Tensor],
    labels: Tensor,
    *,
    background: int,
    passing: int,
    hardest: float = 0.2,
) -> EquivarianceLosses:
    """Equivariant regularisation between two views, and cross regularisation with the refined CAMs.

    Args:
        cams: (N, C, h1, w1) and (N, C, h2, w2) CAM logits of the views; compared on the second's grid.
        refined: likewise, from the pixel correlation module.
        labels: (N, C) multi-hot, background set.
        background: index of the background channel.
        passing: the channel that takes no part in the competition of the ECR targets. SEAM's routine takes
            the first, its background; HSC's release uses the routine as it is, where the first channel is a
            class.
        hardest: part of the entries that ECR is averaged over.
    """
    size = cams[1].shape[-2:]
    mask = labels[:, :, None, None]
    first, second = (resize(max_norm(cam), size) * mask for cam in cams)
    refined_first, refined_second = (resize(max_norm(cam), size) * mask for cam in refined)
    classes = [channel for channel in range(labels.shape[1]) if channel != background]
    er = (first[:, classes] - second[:, classes]).abs().mean()
    target_first, target_second = (
        max_one_hot(with_background_complement(maps.detach(), background), passing)
        for maps in (first, second)
    )
    count = int(labels.shape[1] * size[0] * size[1] * hardest)
    ecr_first, ecr_second = (
        (target - maps).abs().flatten(1).topk(count, dim=1).values.mean()
        for target, maps in ((target_second, refined_first), (target_first, refined_second))
    )
    return EquivarianceLosses(er, ecr_first, ecr_second, (first, second))
