"""Stages small enough for unit tests: a network of one convolution on the small generated dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn

from harness.artifact import Artifact
from harness.data import open_dataset
from harness.report import Report
from harness.request import DatasetRequest, StageRequest
from harness.schema import STAGE
from harness.stage import run_stage

LIMIT = 6  # images per split


@MODELS.register_module()
class TinyNet(BaseModel):
    """A convolution, a batch norm and a dropout, so that state and random numbers both matter.

    Args:
        num_classes: channels of the output.
        nan_at: iteration of this process at which the loss is not a number.
        nan_in: rank of the process that this happens in.
        helper_dies: the process of rank 1 ends with status 3 at its first iteration.
        plain: no dropout, and the batch norm has fixed statistics.
    """

    def __init__(
        self,
        num_classes: int = 10,
        nan_at: int | None = None,
        nan_in: int = 0,
        helper_dies: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.nan_in, self.helper_dies, self.plain = nan_in, helper_dies, plain
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Conv2d(8, num_classes, 1)
        self.nan_at, self.seen = nan_at, 0

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Logits (N, C, h, w), or the loss of image-level labels or masks."""
        features = self.features(inputs)
        if mode == "tensor":
            return self.classifier(features).relu()
        logits = self.classifier(F.dropout(features, 0.5, self.training and not self.plain))
        if "gt_sem_seg" in data_samples[0]:
            masks = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
            resized = F.interpolate(logits, masks.shape[-2:], mode="bilinear")
            return {"loss": F.cross_entropy(resized, masks, ignore_index=255)}
        labels = torch.stack([sample.image_labels for sample in data_samples])
        self.seen += 1
        loss = F.multilabel_soft_margin_loss(logits.mean((2, 3)), labels)
        if self.helper_dies and get_rank() == 1:
            os._exit(3)
        wrong = self.seen == self.nan_at and get_rank() == self.nan_in
        return {"loss": loss * float("nan") if wrong else loss}

    def train(self, mode: bool = True) -> TinyNet:
        """Keep the statistics of a plain network fixed."""
        super().train(mode)
        if self.plain:
            self.features[1].eval()
        return self


TRAIN: dict[str, Any] = {
    "type": "train",
    "split": "train",
    "model": {"type": "TinyNet"},
    "transform": {"type": "LongSideCrop", "long_side": [64, 96], "crop": 64},
    "train_dataloader": {"batch_size": 2, "num_workers": 0},
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
    "param_scheduler": {"type": "PolyLR", "power": 0.9},
    "train_cfg": {"max_iters": 6, "checkpoint_interval": 2, "log_interval": 2},
}
CAMS: dict[str, Any] = {
    "type": "infer",
    "split": "train",
    "checkpoint": "cam",
    "inference": {"type": "MultiScaleCAM", "scales": [1.0, 0.5]},
}
LOGITS: dict[str, Any] = {
    "type": "infer",
    "split": "train",
    "checkpoint": "seg",
    "inference": {"type": "SegmentationLogits", "transform": {"type": "WholeImage"}},
}


def request(root: Path, config: dict[str, Any], name: str, **changes: Any) -> StageRequest:
    """A stage on the first images of every split."""
    dataset = open_dataset("shapes", root)
    stage = STAGE.validate_python(config)
    fields: dict[str, Any] = {
        "stage": name,
        "type": config["type"],
        "key": uuid4().hex,
        "config": stage.model_dump(mode="json"),
        "dataset": DatasetRequest(
            name="shapes",
            root=dataset.root,
            num_classes=10,
            ids={split: list(dataset.ids(split))[:LIMIT] for split in stage.splits()},
        ),
        **changes,
    }
    return StageRequest.model_validate(fields)


def run(folder: Path, root: Path, config: dict[str, Any], **changes: Any) -> Report:
    """Run a stage in this process."""
    return run_stage(request(root, config, folder.name, **changes), folder)


def weights_of(folder: Path, name: str = "model.pth") -> dict[str, Tensor]:
    """The state dict in a checkpoint artifact."""
    return torch.load(Artifact(folder).files / name, weights_only=True)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal to the last bit."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
