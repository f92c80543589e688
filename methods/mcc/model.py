"""MCC: ToCo whose local views are one view under several key masks (spec `mcc`, sections 1.3 and 2.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from methods.mcc.masks import draw_masks, positives
from methods.toco.labels import interest
from methods.toco.model import ToCo
from methods.toco.network import Batch


@MODELS.register_module()
class MCC(ToCo):
    """Masked collaborative contrast.

    Args:
        num_classes: foreground classes.
        backbone: arguments of a `ViT`.
        mask_rate: probability of a block of tokens to be hidden.
        mask_scale: side of a block in tokens; the grid must be a multiple.
        seed_per_rank: give every process masks of its own; the release seeds all alike.
        settings: see `ToCo`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Mapping[str, Any],
        *,
        mask_rate: float = 0.95,
        mask_scale: int = 4,
        seed_per_rank: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(num_classes, backbone, **settings)
        self.mask_rate, self.mask_scale, self.seed_per_rank = mask_rate, mask_scale, seed_per_rank

    def draw(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Key masks (V, B, h, w) bool for images (B, 3, H, W)."""
        return draw_masks(
            len(images),
            self.local_views,
            grid,
            scale=self.mask_scale,
            rate=self.mask_rate,
            device=images.device,
            per_rank=self.seed_per_rank,
        )

    def masked_tokens(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Class tokens (V, B, D) of images (B, 3, H, W) under key masks (V, B, h, w)."""
        return self.backbone.class_tokens_of_visible(images, hidden)

    def local_tokens(self, batch: Batch, maps: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """As `ToCo.local_tokens`; the maps are resized to the grid bicubically."""
        region = interest(F.interpolate(maps, size=grid, mode="bicubic"), self.thresholds)
        hidden = self.draw(batch.local, grid)
        return self.masked_tokens(batch.local, hidden), positives(region, hidden)
