"""Golden cases of HSC's optimisers and schedules, as its configs set them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import MODELS, PARAM_SCHEDULERS
from torch import nn

from harness.schema import TrainStage
from methods.modules.deeplab_aspp import their_name as their_segmentation_name
from tests.golden.adapters.hsc import their_name
from tests.golden.case import Case, adapter
from tests.golden.training import shipped_optimizer, shipped_stage

FACTORS = (1, 2, 10, 20)  # of the four groups' rates


def stage(name: str) -> TrainStage:
    return shipped_stage("hsc", name)


def meta_model(name: str) -> nn.Module:
    with torch.device("meta"):
        return MODELS.build(stage(name).model)


def named_groups(model: nn.Module, optimizer: OptimWrapper, lr: float) -> dict[int, list[str]]:
    """Our parameter names by factor of the rate, without norms, which the release leaves out and keeps."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters()
    }
    groups: dict[int, list[str]] = {factor: [] for factor in FACTORS}
    for group in optimizer.optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in norms:
                groups[round(group["lr"] / lr)].append(names[id(parameter)])
    return groups


def groups_of(name: str, rename: Any) -> dict[str, Any]:
    model, lr = meta_model(name), stage(name).optim_wrapper["optimizer"]["lr"]
    # The release puts frozen convolutions into a group, too, where they get no gradient; mmengine does not.
    model.requires_grad_(True)
    groups = named_groups(model, shipped_optimizer(model, "hsc", name, lr), lr)
    return {f"group{i}": [rename(n) for n in groups[factor]] for i, factor in enumerate(FACTORS)}


@adapter("optim.param_groups", method="hsc")
def param_groups(case: Case) -> dict[str, Any]:
    return groups_of("cam", their_name)


@adapter("seg.param_groups", method="hsc")
def seg_param_groups(case: Case) -> dict[str, Any]:
    return groups_of("seg", their_segmentation_name)


def rates(name: str, lr: float, at: list[int], **changes: Any) -> np.ndarray:
    """The config's rates of the four groups at some iterations, (iterations, 4), the schedule changed."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in FACTORS]
    groups = [{"params": [p], "lr": lr * factor} for p, factor in zip(parameters, FACTORS, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=lr)
    settings = {"by_epoch": False, "begin": 0, **stage(name).param_scheduler, **changes}
    scheduler = PARAM_SCHEDULERS.build(settings, default_args={"optimizer": optimizer})
    found = []
    for iteration in range(max(at) + 1):
        if iteration in at:
            found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return np.array(found)


@adapter("optim.poly_lr", method="hsc")
def poly_lr(case: Case) -> dict[str, Any]:
    config = case.config
    settings = stage("cam").optim_wrapper["optimizer"]
    assert stage("cam").param_scheduler["max_steps"] == config["max_step"]
    biases = stage("cam").optim_wrapper["paramwise_cfg"]["custom_keys"]["extra_F.0.bias"]["decay_mult"]
    decay = settings["weight_decay"]
    return {
        "lr": rates("cam", config["lr"], config["steps"]),
        "sgd_momentum": settings["momentum"],
        "nesterov": settings.get("nesterov", False),
        "weight_decay": [decay, decay * biases, decay, decay * biases],
    }


@adapter("seg.poly_lr", method="hsc")
def seg_poly_lr(case: Case) -> dict[str, Any]:
    return {"lr": rates("seg", case.config["lr"], case.config["iterations"])}


@adapter("optim.sgd_steps", method="hsc")
def sgd_steps(case: Case) -> dict[str, Any]:
    config = case.config
    parameter = nn.Parameter(case.tensors["p"])
    settings = {**stage("cam").optim_wrapper["optimizer"], "lr": config["lr"]}
    assert settings.pop("type") == "SGD"
    assert settings["weight_decay"] == config["wt_dec"]
    optimizer = torch.optim.SGD([parameter], **settings)
    schedule = {**stage("cam").param_scheduler, "max_steps": config["max_step"], "by_epoch": False}
    scheduler = PARAM_SCHEDULERS.build(schedule, default_args={"optimizer": optimizer})
    result = {}
    for step in range(4):
        parameter.grad = case.tensors[f"g{step}"]
        optimizer.step()
        scheduler.step()
        result[f"p_after_{step + 1}"] = parameter.detach().clone()
    return result
