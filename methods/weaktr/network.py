"""WeakTr's network: CAM head and adaptive attention fusion on a plain ViT (spec `semples`, section 3).

Zhu et al., "WeakTr: Exploring Plain Vision Transformer for Weakly-supervised Semantic Segmentation", arXiv
2304.01184. B is the batch, C the classes, P = h * w the patches, N = C + P the tokens, D the width, H the
heads of a block, K the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from methods.modules.coco_channels import Channels, ClassChannels
from methods.weaktr.backbone import attend

Pooling = Literal["max", "avg"]
Source = Literal["fused", "patchcam", "attention"]


class Features(NamedTuple):
    """What head and fusion read of the backbone.

    Attributes:
        classes: (B, C, D) class tokens T.
        patches: (B, D, h, w) patch tokens X.
        attention: A, per block (B, H, N, N), detached.
        pooled: (B, H * K, D / H) branch outputs o, pooled over the tokens, detached; head-major.
    """

    classes: Tensor
    patches: Tensor
    attention: tuple[Tensor, ...]
    pooled: Tensor


class CAMs(NamedTuple):
    """The maps of a batch.

    Attributes:
        logits: (B, C, h, w) of the CAM head, S.
        maps: (B, C, h, w) before refinement, Z.
        affinity: (B, P, P) fused attention between patches, Q; rows do not sum to 1.
    """

    logits: Tensor
    maps: Tensor
    affinity: Tensor

    def refined(self) -> Tensor:
        """(B, C, h, w): every map multiplied once with the affinity, Y."""
        maps = self.maps.flatten(2)
        return (maps @ self.affinity.transpose(1, 2)).unflatten(2, self.maps.shape[-2:])


class AttentionFusion(nn.Module):
    """Weights the attention maps of all heads and blocks by what their branches put out (AAF, 3.3).

    Args:
        heads: H.
        depth: K.
        width: D.
        reduction: the bottleneck between the maps' weights has H * K // reduction channels.
        pooling: of the branch outputs over the tokens.
    """

    def __init__(self, heads: int, depth: int, width: int, *, reduction: int, pooling: Pooling) -> None:
        super().__init__()
        self.heads, self.pooling = heads, pooling
        maps = heads * depth
        # As released, there is no nonlinearity between the two.
        self.feature_ffn = nn.Sequential(nn.Linear(width // heads, 8), nn.Linear(8, 1))
        self.map_ffn = nn.Sequential(
            nn.Linear(maps, maps // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(maps // reduction, maps, bias=False),
            nn.Sigmoid(),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def pool(self, features: Tensor, dim: int) -> Tensor:
        """Pool over the axis of the tokens."""
        return features.amax(dim) if self.pooling == "max" else features.mean(dim)

    def pool_branch(self, branch: Tensor) -> Tensor:
        """(B, N, D) branch output of a block to (B, H, D / H).

        The release takes channels j, j + H, j + 2 H, ... for head j, though the attention's own heads are
        contiguous; its checkpoints need that.
        """
        return self.pool(branch, dim=1).unflatten(1, (-1, self.heads)).transpose(1, 2)

    def weights(self, pooled: Tensor) -> Tensor:
        """(B, H * K) in (0, 1), for pooled features (B, H * K, D / H)."""
        return self.map_ffn(self.feature_ffn(pooled).squeeze(-1))

    def forward(self, pooled: Tensor, attention: Sequence[Tensor]) -> Tensor:
        """(B, N, N) mean of the weighted maps.

        Heads are contracted with their weights block by block; the weighted maps are never there.
        """
        weights = self.weights(pooled).unflatten(1, (self.heads, len(attention)))
        fused = torch.einsum("bh,bhnm->bnm", weights[:, :, 0], attention[0])
        for block, maps in enumerate(attention[1:], start=1):
            fused = fused + torch.einsum("bh,bhnm->bnm", weights[:, :, block], maps)
        return fused / (self.heads * len(attention))


class AttentionCAM(BaseModel):
    """Backbone, head and fusion; what `weaktr` and `semples` have in common. Subclasses implement `loss`.

    C counts the network's channels, which are `num_classes` or COCO's 90.

    Args:
        num_classes: foreground classes of the dataset.
        backbone: config of a `ClassTokenViT` but for its number of tokens; the defaults are DeiT-S.
        channels: `coco90` for networks of 90 channels on COCO's 80 classes.
        reduction: of the fusion.
        pooling: of the fusion.
        source: which CAM is refined and used, see `cams`.
        frozen: the backbone gets no gradient, and the head learns from the maps (SemPLeS); else the backbone
            learns from the head and the maps take the head's CAM as a constant (WeakTr). Spec, section 3.5.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any] | None = None,
        *,
        channels: Channels = "classes",
        reduction: int = 8,
        pooling: Pooling = "max",
        source: Source = "fused",
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.classes = ClassChannels(num_classes, channels)
        self.source: Source = source
        self.frozen = frozen
        tokens = self.classes.count
        self.backbone = MODELS.build({"type": "ClassTokenViT", **(backbone or {}), "num_tokens": tokens})
        width = self.backbone.out_channels
        self.head = nn.Conv2d(width, tokens, 3, padding=1)
        self.fusion = AttentionFusion(
            self.backbone.heads, self.backbone.depth, width, reduction=reduction, pooling=pooling
        )

    def features(self, images: Tensor) -> Features:
        """Run the backbone on normalised images (B, 3, H, W); a frozen one records no gradients.

        In training mode stochastic depth is active, frozen or not.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens, grid = self.backbone.embed(images)
            attention, pooled = [], []
            for block in self.backbone.blocks:
                tokens, maps, branch = attend(block, tokens)
                attention.append(maps.detach())
                pooled.append(self.fusion.pool_branch(branch.detach()))
            classes, patches = self.backbone.split(tokens, grid)
        return Features(classes, patches, tuple(attention), torch.stack(pooled, dim=2).flatten(1, 2))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; norms over batches of a frozen backbone keep their statistics."""
        super().train(mode)
        if self.frozen:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def cams(self, features: Features) -> CAMs:
        """The maps of features; head and fusion get gradients if enabled.

        By `source`, Z is the product of the head's CAM and the attention of class tokens to patches
        (`fused`), the CAM alone (`patchcam`) or the attention alone (`attention`).
        """
        logits = self.head(features.patches)
        count = self.classes.count
        to_patches = self.fusion(features.pooled, features.attention)[:, :, count:]
        attention, affinity = to_patches.tensor_split([count], dim=1)
        attention = attention.unflatten(2, logits.shape[-2:])
        coarse = F.relu(logits)
        if not self.frozen:
            coarse = coarse.detach()
        maps = {"fused": attention * coarse, "patchcam": coarse, "attention": attention}[self.source]
        return CAMs(logits, maps, affinity)

    def refined_cams(self, images: Tensor) -> Tensor:
        """(B, num_classes, h, w) refined CAMs of images (B, 3, H, W), not normalised."""
        return self.classes.narrow(self.cams(self.features(images)).refined())

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss terms for images (B, 3, H, W) and multi-hot labels (B, C) float32."""
        raise NotImplementedError

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives refined CAMs, `loss` a dict, `predict` sets `cam`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.refined_cams(inputs)
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.stack([sample.image_labels for sample in data_samples]).to(inputs.device)
            return self.loss(inputs, self.classes.widen(labels))
        if mode == "predict":
            for sample, cam in zip(data_samples, self.refined_cams(inputs), strict=True):
                sample.cam = PixelData(data=cam)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")
