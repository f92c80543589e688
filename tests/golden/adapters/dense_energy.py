"""Golden cases of the bilateral filter and of the dense energy loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from harness.ops.dense_energy import IGNORE, ExactKernel, bilateral_features, dense_energy_loss, gated_energy
from harness.ops.permutohedral import build_lattice
from tests.golden.case import Case, adapter


def enlarged(case: Case, name: str) -> Tensor:
    """An input at the case's size."""
    size = case.config.get("size", case.tensors[name].shape[-2:])
    return F.interpolate(case.tensors[name], size=size, mode="bilinear", align_corners=False)


def pixels(planes: Tensor) -> Tensor:
    """(N, K, H, W) to (N, H * W, K)."""
    return planes.flatten(2).transpose(1, 2)


def image_numbers(features: Tensor) -> Tensor:
    return torch.arange(len(features)).repeat_interleave(features.shape[1])


def norms_apart(ours: Tensor, exact: Tensor) -> float:
    """Relative L2 distance."""
    return float((ours - exact).norm() / exact.norm())


@adapter("reg.filter_smooth", "reg.filter_noise", "reg.filter_low_contrast", "reg.filter_odd_count")
def bilateral_filter(case: Case) -> dict[str, Any]:
    config, image = case.config, enlarged(case, "image")
    soft = enlarged(case, "seg").softmax(1)
    features = bilateral_features(image, config["sigma_xy"], config["sigma_rgb"])
    values = pixels(soft).flatten(0, 1)
    lattice = build_lattice(features.flatten(0, 1), image_numbers(features)).filter(values)
    exact = ExactKernel(features.double()).apply(values.double())
    double, scale = lattice.double(), float((lattice * exact).sum() / exact.square().sum())
    energies = [float((values.double() * filtered).sum()) for filtered in (double, exact)]
    n, channels = soft.shape[:2]
    planes = [out.reshape(n, -1, channels).transpose(1, 2).reshape(soft.shape) for out in (lattice, exact)]
    return {
        "lattice": planes[0],
        "exact": planes[1],
        "sAs_lattice": energies[0],
        "sAs_exact": energies[1],
        "rel_l2_diff": norms_apart(double, exact),
        "rel_diff_sAs": energies[0] / energies[1] - 1,
        "best_scale_lattice_over_exact": scale,
        "rel_l2_diff_after_best_scale": norms_apart(double, scale * exact),
    }


def boxes(case: Case, size: list[int]) -> Tensor:
    """(N, H, W), 1 inside of each image's box (top, bottom, left, right)."""
    inside = torch.zeros(len(case.tensors["img_box"]), *size)
    for plane, (top, bottom, left, right) in zip(inside, case.arrays["img_box"], strict=True):
        plane[top:bottom, left:right] = 1
    return inside


@adapter("loss.reg")
def regularised_loss(case: Case) -> dict[str, Any]:
    config = case.config
    mean, deviation = (
        torch.tensor(np.array(values) * 255, dtype=torch.float32).reshape(3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    normalised = (enlarged(case, "image_low") - mean) / deviation
    image, logits = normalised * deviation + mean, enlarged(case, "logit_low").requires_grad_()
    inside = boxes(case, config["size"])
    label = F.interpolate(case.tensors["label_low"][:, None].float(), size=config["size"])[:, 0].long()
    label[(label == config["ignore_code"]) | (inside == 0)] = IGNORE
    settings = {name: config[name] for name in ("weight", "sigma_rgb", "sigma_xy")}
    loss = dense_energy_loss(
        image, logits.softmax(1), inside, label, scale=config["scale_factor"], **settings
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    exact_loss, exact = with_exact_kernel(case, image, logits, inside, label)
    ours = gradient.double()
    return {
        "loss": loss.detach()[None],
        "grad_logits": gradient,
        "exact_loss": float(exact_loss),
        "exact_grad_logits": exact,
        "rel_diff_loss": float(loss.detach() / exact_loss) - 1,
        "rel_l2_diff_grad": norms_apart(ours, exact),
        "cosine_grad": float((ours * exact).sum() / ours.norm() / exact.norm()),
    }


def with_exact_kernel(
    case: Case, image: Tensor, logits: Tensor, inside: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss and its released gradient in float64, with the exact kernel, unscaled."""
    scale, precise = case.config["scale_factor"], logits.detach().double().requires_grad_()
    images, roi, ignored = (
        F.interpolate(planes.double(), scale_factor=scale, mode="nearest")
        for planes in (image, inside[:, None], (label == IGNORE)[:, None])
    )
    features = bilateral_features(images, case.config["sigma_xy"] * scale, case.config["sigma_rgb"])
    soft = F.interpolate(precise.softmax(1), scale_factor=scale, mode="bilinear", align_corners=False)
    loss = gated_energy(soft, roi, ignored.bool(), ExactKernel(features), case.config["weight"])
    return loss.detach(), torch.autograd.grad(loss, precise)[0]
