"""Golden cases of the second stage of RTC and PPC: DeepLab on pseudo masks."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.geometry import Offsets
from harness.data.pixels import normalise
from harness.ops.crf import CRFParameters, crf_from_probabilities
from harness.ops.crf_refiner import SEGMENTATION_CRF
from harness.ops.segmentation_refiner import fuse_logits
from methods.modules.deeplab_aspp import RESNET101S, DeepLabASPP, DeepLabLargeFOV, convert_authors
from methods.modules.hsv_scale_crop import hsv_scale_crop
from tests.golden.adapters.hsc_optim import rates
from tests.golden.case import Case, adapter

NETWORKS: dict[str, tuple[type[DeepLabASPP | DeepLabLargeFOV], dict[str, Any]]] = {
    "dl1r38": (DeepLabLargeFOV, {"type": "ResNet38", "norm": "batch", "bn_momentum": 0.0003}),
    "dl1r101": (DeepLabLargeFOV, RESNET101S),
    "dl2r101": (DeepLabASPP, RESNET101S),
}


@adapter(
    "seg2.deeplabv1_resnet38.forward",
    "seg2.deeplabv1_resnet101.forward",
    "seg2.deeplabv2_resnet101.forward",
)
@torch.no_grad()
def forward(case: Case) -> dict[str, Any]:
    kind, backbone = NETWORKS[case.config["net"]]
    state = case.state()
    with torch.device("meta"):
        network: nn.Module = kind(len(state["cls_conv.bias"]), backbone)
    conversion = convert_authors(state)
    assert conversion.complete
    network.load_state_dict(conversion.state, assign=True)
    return {"logits": network.eval()(case.tensors["x"])}


@adapter("seg2.adjust_lr")
def adjust_lr(case: Case) -> dict[str, Any]:
    config = case.config
    schedule = {"power": config["power"], "end": config["max_itr"] + 2}  # as the shipped config has it
    return {"lr_per_group": rates("seg", config["lr"], config["steps"], **schedule)}


@adapter("seg2.weak_augment")
def weak_augment(case: Case) -> dict[str, Any]:
    image, label = (case.arrays[name].astype(np.uint8) for name in ("image", "label"))
    draw, crop = random.Random(case.config["python_random_seed"]), case.config["crop"]
    shifts = (draw.randint(-10, 10), draw.randint(-10, 10), draw.randint(-10, 10))
    flip, scale = draw.random() < 0.5, draw.uniform(0.5, 1.5)
    height, width = (round(side * scale) for side in label.shape)
    offsets = Offsets(*(draw.randrange(abs(side - crop) + 1) for side in (width, height)))
    geometry = hsv_scale_crop(label.shape, shifts=shifts, flip=flip, scale=scale, offsets=offsets, crop=crop)
    return {
        "image_hwc": geometry.image(image, normalise).transpose(1, 2, 0),
        "segmentation": geometry.label(label).astype(np.float32),
    }


@adapter("seg2.msf_fuse")
def msf_fuse(case: Case) -> dict[str, Any]:
    height, width = case.config["image_size"]
    maps = [case.tensors[f"logits_{index}"] for index in range(case.config["maps"])]
    # Every second one is of a mirror image, of another size here than the image's.
    upright = [torch.cat([logits, torch.zeros_like(logits)]) for logits in maps[::2]]
    mirrored = [torch.cat([torch.zeros_like(logits), logits]) for logits in maps[1::2]]
    total = sum((fuse_logits(pair, (height, width)) for pair in upright + mirrored), torch.zeros(()))
    return {"pred": (total / len(maps)).argmax(0)}


def upsampled(case: Case, name: str) -> Tensor:
    """An input (1, C, h, w) at the size that the case asks for, (C, H, W)."""
    size = case.config["upsampled_to"]
    return F.interpolate(case.tensors[name], size=size, mode="bilinear", align_corners=True)[0]


def upsampled_image(case: Case) -> np.ndarray:
    """The uint8 image (H, W, 3) of the cases with a CRF."""
    pixels = (upsampled(case, "image") * 255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().numpy()


def crf_on_logits(case: Case, parameters: CRFParameters) -> dict[str, Any]:
    probability = upsampled(case, "logits").softmax(0).numpy()
    return {"q": crf_from_probabilities(upsampled_image(case), probability, parameters)[1]}


@adapter("seg2.crf_deeplabv2")
def crf_deeplabv2(case: Case) -> dict[str, Any]:
    return crf_on_logits(case, SEGMENTATION_CRF)


@adapter("seg2.crf_codebase")
def crf_codebase(case: Case) -> dict[str, Any]:
    return crf_on_logits(
        case,
        CRFParameters(
            iterations=1,
            gaussian_sxy=3,
            gaussian_compat=3,
            bilateral_sxy=32,
            bilateral_srgb=13,
            bilateral_compat=10,
        ),
    )
