"""The heads on the transformer: segmentation decoder and projection of class tokens.

Source: spec `mcc`, section 1.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class LargeFOV(nn.Module):
    """Two dilated convolutions and a classifier, no norm and no bias: (B, D, h, w) to (B, K, h, w) logits.

    Args:
        in_channels: D.
        num_classes: K, background included.
        channels: of both convolutions.
        dilation: of both convolutions.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int = 512, dilation: int = 5) -> None:
        super().__init__()
        self.conv6 = nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv7 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv8 = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits on the grid of the features."""
        return self.conv8(F.relu(self.conv7(F.relu(self.conv6(features)))))


class Projector(nn.Module):
    """DINO's projection head: three layers to a unit vector, then a linear layer whose rows have length 1.

    Args:
        in_channels: of the class token.
        channels: of the two hidden layers.
        bottleneck: of the unit vector.
        out_channels: of the result, which is not normalised.
    """

    def __init__(
        self, in_channels: int, channels: int = 2048, bottleneck: int = 256, out_channels: int = 1024
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = weight_norm(nn.Linear(bottleneck, out_channels, bias=False))
        length = self.last_layer.parametrizations.weight.original0
        nn.init.ones_(length)
        length.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, D) class tokens to (n, out_channels)."""
        return self.last_layer(F.normalize(self.mlp(tokens), dim=-1))


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move every parameter of the teacher towards the student's, which gets the share 1 - momentum."""
    for mean, new in zip(teacher.parameters(), student.parameters(), strict=True):
        mean.mul_(momentum).add_(new, alpha=1 - momentum)
