"""Mask2Former as a segmentation network: the second stage of SemPLeS and FMA-WSSS (spec `semples`, 9.3).

Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022; Liu et al.,
"Swin Transformer", ICCV 2021. Network and loss are those of the library transformers, whose deformable
attention is plain PyTorch: mmdet's needs operators of mmcv that are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

IGNORE = 255
STAGES = ("stage1", "stage2", "stage3", "stage4")
SWIN_LARGE = {
    "image_size": 384,
    "embed_dim": 192,
    "depths": (2, 2, 18, 2),
    "num_heads": (6, 12, 24, 48),
    "window_size": 12,
    "drop_path_rate": 0.3,
}


@MODELS.register_module()
class Mask2Former(BaseModel):
    """Queries that each propose a class and a mask; a pixel's class is the best of their weighted sum.

    Args:
        num_classes: classes with background, which is a class like the others.
        backbone: arguments of a `SwinConfig`; the defaults are Swin-L.
        **sizes: arguments of `Mask2FormerConfig`; the defaults are 100 queries and 9 decoder layers behind 6
            of deformable attention.
    """

    def __init__(self, num_classes: int, backbone: Mapping[str, Any] | None = None, **sizes: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        swin = SwinConfig(**{**SWIN_LARGE, **(backbone or {})}, out_features=list(STAGES))
        self.network = Mask2FormerForUniversalSegmentation(
            Mask2FormerConfig(backbone_config=swin, num_labels=num_classes, **sizes)
        )

    @property
    def backbone(self) -> nn.Module:
        """The transformer, without its pixel decoder."""
        return self.network.model.pixel_level_module.encoder

    def logits(self, inputs: Tensor) -> Tensor:
        """(N, classes, H / 4, W / 4), the sum over queries of their masks, weighted by their classes."""
        found = self.network(pixel_values=inputs)
        classes = found.class_queries_logits.softmax(-1)[..., :-1]  # the last class is no object
        return torch.einsum("nqc,nqhw->nchw", classes, found.masks_queries_logits.sigmoid())

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`loss_queries` for images (N, 3, H, W) and labels (N, H, W) int64; 255 belongs to no mask."""
        classes = [present[present != IGNORE] for present in (label.unique() for label in labels)]
        masks = [
            (label == found[:, None, None]).to(inputs.dtype)
            for label, found in zip(labels, classes, strict=True)
        ]
        found = self.network(pixel_values=inputs, mask_labels=masks, class_labels=classes)
        return {"loss_queries": found.loss.reshape(())}

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `tensor` gives scores, `loss` a dict, `predict` sets `pred_sem_seg`.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode == "tensor":
            return self.logits(inputs)
        if data_samples is None:
            raise ValueError(f"mode {mode!r} needs data samples")
        if mode == "loss":
            labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
            return self.loss(inputs, labels.to(inputs.device))
        if mode == "predict":
            size = (inputs.shape[-2], inputs.shape[-1])
            scores = F.interpolate(self.logits(inputs), size=size, mode="bilinear", align_corners=False)
            for sample, label in zip(data_samples, scores.argmax(1, keepdim=True), strict=True):
                sample.pred_sem_seg = PixelData(data=label)
            return data_samples
        raise ValueError(f"unknown mode {mode!r}")
