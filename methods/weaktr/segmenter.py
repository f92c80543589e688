"""WeakTr's second stage: a Segmenter that leaves out pixels which it finds hard.

Strudel et al., "Segmenter: Transformer for Semantic Segmentation", ICCV 2021, whose decoder is
mmsegmentation's. Loss and settings: spec `semples`, section 9.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.models.decode_heads import SegmenterMaskTransformerHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from harness.data.palette import IGNORE


def clip_loss(loss: Tensor, *, start: float = 1.2, patch: int = 120) -> Tensor:
    """Cut the loss of pixels at what is usual around them, so that pixels above it give no gradient.

    Args:
        loss: (B, H, W) of each pixel.
        start: while the mean loss is above it, nothing is cut.
        patch: side of the squares whose mean loss over the batch is the limit of their pixels; it is not less
            than the mean of all.

    Returns:
        (B, H, W).
    """
    mean = loss.detach().mean()
    if mean > start:
        return loss
    limit = F.avg_pool2d(loss.detach().mean(0)[None], patch, ceil_mode=True).clamp_min(mean)
    limit = limit.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    return torch.minimum(loss, limit[:, : loss.shape[1], : loss.shape[2]])


@MODELS.register_module()
class Segmenter(BaseModel):
    """A vision transformer and a decoder whose class embeddings attend to the patches.

    Args:
        num_classes: with background.
        backbone: config of a `ClassTokenViT`.
        layers: blocks of the decoder.
        dropout: in the decoder.
        clip_start: see `clip_loss`; None for the plain cross-entropy.
        clip_patch: see `clip_loss`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        layers: int = 2,
        dropout: float = 0.1,
        clip_start: float | None = 1.2,
        clip_patch: int = 120,
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(
            {"type": "ClassTokenViT", "final_norm": True, "resample": "bilinear", **backbone}
        )
        width = self.backbone.out_channels
        with torch.device("cpu"):  # it reads a tensor's values while it is built, which `meta` has not
            self.decoder = SegmenterMaskTransformerHead(
                in_channels=width,
                channels=width,
                num_classes=num_classes,
                num_layers=layers,
                num_heads=self.backbone.heads,
                embed_dims=width,
                drop_path_rate=0.0,
                drop_rate=dropout,
                dropout_ratio=0.0,
            )
        self.decoder.init_weights()
        self.clip_start, self.clip_patch = clip_start, clip_patch

    def logits(self, images: Tensor) -> Tensor:
        """(B, num_classes, h, w) at the stride of the patches, for images (B, 3, H, W).

        Images are padded to whole patches, so that every pixel is seen, and the logits belong to the padded
        image.
        """
        return self.decoder([self.backbone(padded(images, self.backbone.patch_size))[1]])

    def full_logits(self, images: Tensor) -> Tensor:
        """(B, num_classes, H, W) for images (B, 3, H, W): bilinear at the size of the padded image, cut."""
        height, width = images.shape[-2:]
        logits = self.logits(images)
        stride = self.backbone.patch_size
        size = (logits.shape[-2] * stride, logits.shape[-1] * stride)
        full = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return full[..., :height, :width]

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`loss_seg` for images (B, 3, H, W) and labels (B, H, W); pixels of 255 count 0 in every mean."""
        loss = F.cross_entropy(self.full_logits(images), labels, ignore_index=IGNORE, reduction="none")
        if self.clip_start is not None:
            loss = clip_loss(loss, start=self.clip_start, patch=self.clip_patch)
        return {"loss_seg": loss.mean()}

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives logits (B, num_classes, H, W), `predict` sets `seg_logits`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.full_logits(inputs)
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
            return self.loss(inputs, labels.to(inputs.device))
        if mode == "predict":
            for sample, logits in zip(data_samples, self.full_logits(inputs), strict=True):
                sample.seg_logits = PixelData(data=logits)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images (B, 3, H, W) with zeros, the mean colour, at the right and below up to multiples."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))
