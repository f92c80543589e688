"""Golden cases of SEAM, which come with RTC's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.ops.cam import fuse_flips, fuse_scales, stretch
from harness.ops.crf import crf_from_probabilities
from harness.ops.crf_refiner import ALPHA_CRF, with_alpha_background
from methods.modules.equivariance import resize
from methods.seam.model import SEAM, convert_authors, view_classification, view_equivariance
from tests.golden.case import Case, adapter


@adapter("seam.network.forward")
@torch.no_grad()
def network_forward(case: Case) -> dict[str, Any]:
    with torch.device("meta"):
        network = SEAM(20, {"type": "ResNet38"}).eval()
    conversion = convert_authors(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state, assign=True)
    cam, refined = network.view(case.tensors["x"])
    return {"cam": cam, "cam_rv": refined}


@adapter("seam.train.step")
def train_step(case: Case) -> dict[str, Any]:
    leaves = {
        name: resize(case.tensors[name], size).requires_grad_()
        for name, size in case.config["upsampled_to"].items()
    }
    first, second = (leaves["cam1"], leaves["cam_rv1"]), (leaves["cam2"], leaves["cam_rv2"])
    labels = case.tensors["image_label"]
    cls1, quiet1 = view_classification(first, labels)
    cls2, quiet2 = view_classification(second, labels)
    equivariance = view_equivariance(first, second, labels)
    classification = (cls1 + cls2 + quiet1 + quiet2) / 2
    total = classification + equivariance.er + equivariance.ecr
    total.backward()
    return {
        "loss_cls1": cls1,
        "loss_cls2": cls2,
        "loss_rvmin1": quiet1,
        "loss_rvmin2": quiet2,
        "loss_cls": classification,
        "loss_er": equivariance.er,
        "loss_ecr1": equivariance.ecr_first,
        "loss_ecr2": equivariance.ecr_second,
        "loss_ecr": equivariance.ecr,
        "loss": total,
        **{f"grad_{name}": leaf.grad for name, leaf in leaves.items()},
    }


@adapter("seam.infer.fuse")
def infer_fuse(case: Case) -> dict[str, Any]:
    maps = [case.tensors[f"cam_rv_{i}"] for i in range(case.config["maps"])]
    pairs = [torch.cat([maps[i], maps[i + 1]]) for i in range(0, len(maps), 2)]
    labels = case.tensors["image_label"].reshape(-1, 1, 1)
    fused: list[Tensor] = [fuse_flips(pair, "sum")[1:] * labels for pair in pairs]
    height, width = case.config["image_size"]
    _, total = fuse_scales(fused, (height, width), "direct")
    return {"sum_cam": total.clamp_min(0), "norm_cam": stretch(total)}


@adapter("seam.infer.crf_with_alpha")
def crf_with_alpha(case: Case) -> dict[str, Any]:
    size = case.config["upsampled_to"]
    image, maps = (
        F.interpolate(case.tensors[name], size=size, mode="bilinear", align_corners=True)
        for name in ("image", "fused")
    )
    pixels = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    parameters = ALPHA_CRF.updated({"iterations": 10})
    energies = with_alpha_background(maps[0].numpy(), case.config["alpha"])
    _, marginals = crf_from_probabilities(pixels, energies, parameters)
    return {"q_bg_then_present": marginals}
