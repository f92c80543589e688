"""The parts of RTC's network on the wide ResNet-38 (spec `rtc`, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.modules.equivariance import competing_cam, pixel_correlation, resize
from methods.modules.resnet38 import ResNet38, Stages


class View(NamedTuple):
    """What the network makes of a view (n, 3, H, W); h, w are an eighth of H, W.

    Attributes:
        cam: (n, K, H, W) logits, background first.
        refined: (n, K, H, W), the CAM after cross-representation refinement.
        embedding: (n, D, h, w), of which `cam` is a linear map; not negative.
        refined_small: (n, K, h, w), `refined` before it was enlarged.
        seg: (n, K, H/4, W/4) logits of the segmentation branch; None where it did not run.
    """

    cam: Tensor
    refined: Tensor
    embedding: Tensor
    refined_small: Tensor
    seg: Tensor | None


def convolution(
    entering: int, leaving: int, size: int = 1, dilation: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A convolution that keeps the size of its input."""
    return nn.Conv2d(entering, leaving, size, padding=size // 2 * dilation, dilation=dilation, bias=bias)


class CrossRepresentation(nn.Module):
    """Two pixel correlations, of deep and of shallow features, averaged; it trains only its own convolutions.

    Args:
        backbone: the trunk, for its widths.
        background: index of the background channel.
    """

    def __init__(self, backbone: ResNet38, background: int) -> None:
        super().__init__()
        self.background = background
        self.f8_3 = convolution(backbone.conv4_channels, 64)
        self.f8_4 = convolution(backbone.conv5_channels, 128)
        self.f8_5 = convolution(backbone.out_channels, 128)
        self.f9_1 = convolution(128 + 128, 128)
        self.f9_2 = convolution(3 + 64, 64)
        for layer in (self.f8_3, self.f8_4, self.f8_5):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.xavier_uniform_(self.f9_1.weight, gain=4)
        nn.init.xavier_uniform_(self.f9_2.weight)

    def forward(self, image: Tensor, stages: Stages, cam: Tensor) -> Tensor:
        """Refined CAM (n, K, h, w).

        Args:
            image: (n, 3, H, W) normalised.
            stages: what the trunk made of it; nothing flows back there.
            cam: (n, K, h, w) logits.
        """
        low = F.relu(self.f8_3(stages.conv4.detach()))
        middle = F.relu(self.f8_4(stages.conv5.detach()))
        high = F.relu(self.f8_5(stages.conv6.detach()))
        deep = self.f9_1(torch.cat([middle, high], dim=1))
        shallow = self.f9_2(torch.cat([resize(image, low.shape[-2:]), low], dim=1))
        competing = competing_cam(cam.detach(), self.background)
        return (pixel_correlation(competing, deep) + pixel_correlation(competing, shallow)) / 2


class SegmentationBranch(nn.Module):
    """From the trunk to logits at a quarter of the image's size; its loss trains the trunk.

    The only non-linearity is the one before the classifier.

    Args:
        backbone: the trunk, for its widths.
        num_classes: background included.
        width: of the branch; 512 as released.
        shallow: channels that come from `conv3`.
        dilation: of the two large convolutions.
    """

    def __init__(
        self, backbone: ResNet38, num_classes: int, *, width: int = 512, shallow: int = 48, dilation: int = 12
    ) -> None:
        super().__init__()
        entering, half = backbone.out_channels, width // 2
        self.conv1 = convolution(entering, width, 3, dilation, bias=True)
        self.conv2 = convolution(width, half, 3, dilation, bias=True)
        self.conv3 = convolution(entering, half, 3)
        self.conv4 = convolution(2 * half, half)
        self.conv5 = convolution(backbone.conv3_channels, shallow, 3)
        self.proj = convolution(half + shallow, half)
        self.classifier = convolution(half, num_classes)
        for layer in self.children():
            assert isinstance(layer, nn.Conv2d)
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, stages: Stages) -> Tensor:
        """Logits (n, K, H/4, W/4)."""
        deep = torch.cat([self.conv2(self.conv1(stages.conv6)), self.conv3(stages.conv6)], dim=1)
        deep = resize(self.conv4(deep), stages.conv3.shape[-2:])
        joined = torch.cat([deep, self.conv5(stages.conv3)], dim=1)
        return self.classifier(F.relu(self.proj(joined)))
