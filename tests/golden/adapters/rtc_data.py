"""Golden cases of RTC's data loading and optimiser."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.optim import PolyLR
from mmseg.registry import MODELS
from torch import nn

from harness.data.geometry import Offsets
from harness.data.pixels import normalise, scale_flip_stack, scaled_size
from harness.data.transforms import long_side_crop
from tests.golden.adapters.hsc_optim import FACTORS, named_groups
from tests.golden.adapters.rtc import their_name
from tests.golden.case import Case, adapter
from tests.golden.training import shipped_optimizer, shipped_stage


@adapter("data.msf_inputs", method="rtc")
def msf_inputs(case: Case) -> dict[str, Any]:
    image = case.arrays["image"].astype(np.uint8)
    maps = [view for scale in case.config["scales"] for view in scale_flip_stack(image, scale)]
    return {f"map_{i}": view for i, view in enumerate(maps)}


@adapter("data.resize_crop", method="rtc")
def resize_crop(case: Case) -> dict[str, Any]:
    """The numbers are drawn as the release draws them; ours come from another generator."""
    image, config = case.arrays["image"].astype(np.uint8), case.config
    random.seed(config["python_random_seed"])
    long_side, crop = random.randint(config["min_long"], config["max_long"]), config["crop"]
    height, width = scaled_size(image.shape, long_side / max(image.shape[:2]))
    horizontal, vertical = (random.randrange(abs(side - crop) + 1) for side in (width, height))
    geometry = long_side_crop(
        image.shape, long_side=long_side, flip=False, offsets=Offsets(horizontal, vertical), crop=crop
    )
    square = geometry.square(image)
    return {
        "resized_wh": [width, height],
        "crop_hwc": square.to_float(normalise).transpose(1, 2, 0),
        "img_box": [square.rows.start, square.rows.stop, square.columns.start, square.columns.stop],
    }


@adapter("rtc.network.param_groups")
def param_groups(case: Case) -> dict[str, Any]:
    """Norms and what is frozen are in the release's groups, too; the unused layer is in its third."""
    stage = shipped_stage("rtc", "cam")
    with torch.device("meta"):
        model = MODELS.build(stage.model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    lr = stage.optim_wrapper["optimizer"]["lr"]
    model.requires_grad_(True)
    found = named_groups(model, shipped_optimizer(model, "rtc", "cam", lr), lr)
    groups = [found[factor] for factor in FACTORS]
    grouped = {name for group in groups for name in group}
    for name in sizes:
        if name not in grouped:  # a norm
            groups[name.endswith("bias")].append(name)
    unused = {"fc8.weight": int(np.prod(case.raw["state"]["fc8.weight"]))}
    groups[2] += unused
    sizes |= unused
    trained |= unused.keys()
    assert {their_name(name) for name in sizes} <= set(case.raw["state"])
    kept = [[name for name in group if name in trained] for group in groups]
    return {
        "tensors_per_group": [len(group) for group in groups],
        "elements_per_group": [sum(sizes[name] for name in group) for group in groups],
        "trainable_tensors_per_group_after_train_call": [len(group) for group in kept],
        "trainable_elements_per_group_after_train_call": [sum(sizes[n] for n in group) for group in kept],
        "parameters_total": sum(sizes.values()),
    }


def optimizer_of(parameter: nn.Parameter, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """SGD as the shipped config sets it."""
    settings = {**shipped_stage("rtc", "cam").optim_wrapper["optimizer"], "lr": lr}
    assert settings.pop("type") == "SGD"
    assert settings["weight_decay"] == weight_decay
    return torch.optim.SGD([parameter], **settings)


def schedule_of(optimizer: torch.optim.Optimizer, max_step: int) -> PolyLR:
    """The schedule as the train stage builds it from the shipped config."""
    settings = dict(shipped_stage("rtc", "cam").param_scheduler)
    assert settings.pop("type") == "PolyLR"
    return PolyLR(optimizer, by_epoch=False, begin=0, end=max_step + 1, **settings)


@adapter("rtc.optim.poly_lr")
def poly_lr(case: Case) -> dict[str, Any]:
    """Beyond the last step a rate is left as it is, which in the case's fresh optimisers is the base one."""
    config, rates = case.config, {}
    optimizer = optimizer_of(nn.Parameter(torch.zeros(1)), config["lr"], config["weight_decay"])
    scheduler = schedule_of(optimizer, config["max_step"])
    for step in range(config["max_step"]):
        rates[step] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
    return {
        "lr_used_at_step": [rates.get(step, config["lr"]) for step in config["steps"]],
        "momentum_of_group": optimizer.param_groups[0]["momentum"],
    }


@adapter("rtc.optim.trajectory")
def trajectory(case: Case) -> dict[str, Any]:
    config, parameter = case.config, nn.Parameter(case.tensors["w0"])
    optimizer = optimizer_of(parameter, config["group_lr"], config["group_weight_decay"])
    scheduler = schedule_of(optimizer, config["max_step"])
    found = []
    for gradient in case.tensors["grads"]:
        parameter.grad = gradient
        optimizer.step()
        scheduler.step()
        found.append(parameter.detach().clone())
    return {"w_after_each_step": torch.stack(found)}
