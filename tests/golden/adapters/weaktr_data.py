"""Golden cases of WeakTr and SemPLeS around their networks: schedules, inputs, CAMs of whole images, CRF."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.optim import OptimWrapper
from PIL import Image

from harness.data.pixels import normalise, resize, scale_flip_stack
from harness.inference import MultiScaleCAM
from harness.ops.crf import crf_from_labels
from harness.schedules import EpochCosineLR
from methods.modules.cam_label_crf import CAM_LABEL_CRF
from methods.modules.coco_channels import CATEGORIES, CHANNEL_OF_CLASS
from tests.golden.adapters.weaktr import weaktr_network
from tests.golden.case import Case, adapter
from tests.golden.training import group_lrs

COCO_LABEL_CRF = CAM_LABEL_CRF.updated({"gaussian_sxy": 3, "bilateral_sxy": 50, "bilateral_compat": 10})
STAGES = ("stage_a", "stage_b", "stage_c")


@adapter(
    "schedule.weaktr.voc",
    "schedule.weaktr.coco",
    *(f"schedule.semples.{stage}.{dataset}" for stage in STAGES for dataset in ("voc", "coco")),
)
def schedule(case: Case) -> dict[str, Any]:
    config = case.config
    base, per_epoch = config["lr"] * config["batch_size"] / 512, 3
    optimizer = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base))
    scheduler = EpochCosineLR(
        optimizer,
        epochs=config["epochs"],
        per_epoch=per_epoch,
        min_lr=config["min_lr"],
        warmup_epochs=config["warmup_epochs"],
        warmup_lr=config["warmup_lr"],
        by_epoch=False,
    )
    rates = []
    for _ in range(config["epochs"]):
        (rate,) = group_lrs(optimizer)
        rates.append(rate)
        for _ in range(per_epoch):
            optimizer.step()
            scheduler.step()
    return {"scaled_base_lr": base, "lr_used_in_epoch": np.array(rates)}


@adapter("data.multi_scale_images")
def multi_scale_images(case: Case) -> dict[str, Any]:
    image = case.arrays["image"].astype(np.uint8)
    stacks = [scale_flip_stack(image, scale) for scale in case.config["scales"]]
    return {f"tensor_{index}": tensor for index, tensor in enumerate(t for stack in stacks for t in stack)}


@adapter("data.validation_transform")
def validation_transform(case: Case) -> dict[str, Any]:
    image = case.arrays["image"].astype(np.uint8)
    size = (np.array(image.shape[:2]) * 256 / min(image.shape[:2])).astype(int)
    resized = resize(image, (int(size[0]), int(size[1])), Image.Resampling.BICUBIC)
    top, left = (round((side - 224) / 2) for side in resized.shape[:2])
    return {"tensor": normalise(resized[top : top + 224, left : left + 224])}


@adapter("cam.multi_scale.voc", "cam.multi_scale.coco", "cam.single_scale.voc")
@torch.no_grad()
def multi_scale_cam(case: Case) -> dict[str, Any]:
    network, _ = weaktr_network(case)
    images = [case.arrays[f"image_s{index}"] for index in range(len(case.config["scales"]))]
    stacks = [np.concatenate([image, image[..., ::-1]]) for image in images]
    channels = np.array(CHANNEL_OF_CLASS if case.config["num_classes"] == CATEGORIES else range(20))
    labels = case.arrays["target"][0, channels].astype(np.float32)
    inference = MultiScaleCAM(case.config["scales"], flip_fusion="sum", normalisation="range")
    scores = inference.infer(network, (stacks, images[0].shape[2:], labels), torch.device("cpu"))
    keys = channels[scores["keys"]]
    maps = {f"cam_class_{key}": cam for key, cam in zip(keys, scores["high_res"], strict=True)}
    return {"keys": keys, **maps}


@adapter("crf.label.voc", "crf.label.coco")
def crf_label(case: Case) -> dict[str, Any]:
    config, image, labels = case.config, case.arrays["image"], case.arrays["labels"]
    image = image.repeat(config["repeat"], 0).repeat(config["repeat"], 1).astype(np.uint8)
    labels = labels.repeat(config["label_repeat"], 0).repeat(config["label_repeat"], 1)
    parameters = {"voc": CAM_LABEL_CRF, "coco": COCO_LABEL_CRF}[config["kind"]]
    return {"labels": crf_from_labels(image, labels, config["n_labels"], 0.7, parameters)[0]}
