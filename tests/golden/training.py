"""A recipe's optimiser and schedule as a real training builds them, for golden cases of training steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, PolyLR, build_optim_wrapper
from torch import nn

NEW_LAYERS = ("classifier", "fc_a", "fc_b", "codebook")


def sgd_wrapper(
    model: nn.Module, *, lr: float, momentum: float, weight_decay: float, mults: dict[str, float]
) -> OptimWrapper:
    """SGD over the model's trainable parameters; `mults` maps part of a name to its learning-rate factor."""
    # mmengine logs a line for every parameter.
    MMLogger.get_current_instance().setLevel("ERROR")
    return build_optim_wrapper(
        model,
        {
            "optimizer": {"type": "SGD", "lr": lr, "momentum": momentum, "weight_decay": weight_decay},
            "paramwise_cfg": {"custom_keys": {name: {"lr_mult": mult} for name, mult in mults.items()}},
        },
    )


def poly_lr(optimizer: OptimWrapper, max_iters: int, power: float) -> PolyLR:
    """lr_t = lr_0 (1 - t / max_iters)^power; mmengine counts one step less than `end`."""
    return PolyLR(optimizer, power=power, eta_min=0, by_epoch=False, begin=0, end=max_iters + 1)


def group_lrs(optimizer: OptimWrapper) -> list[float]:
    """The distinct learning rates in force, ascending."""
    return sorted({group["lr"] for group in optimizer.optimizer.param_groups})


def schedule(
    lrs: Iterable[float], *, max_iters: int, power: float, momentum: float, at: Iterable[int]
) -> list[list[float]]:
    """Learning rates of groups that start at `lrs`, in force during the iterations `at`, which ascend."""
    base, *others = lrs
    model = nn.ModuleDict({f"group{i}": nn.Linear(1, 1) for i in range(1 + len(others))})
    mults = {f"group{i}": lr / base for i, lr in enumerate(others, start=1)}
    optimizer = sgd_wrapper(model, lr=base, momentum=momentum, weight_decay=0.0, mults=mults)
    scheduler = poly_lr(optimizer, max_iters, power)
    wanted, rows = set(at), []
    for iteration in range(max(wanted) + 1):
        if iteration in wanted:
            rows.append(group_lrs(optimizer))
        optimizer.step()
        scheduler.step()
    return rows


def train_steps(model: Any, data: dict[str, Any], config: Any, mults: dict[str, float]) -> dict[str, Any]:
    """Optimiser steps on one batch: the loss terms before each and the rates of each, as lists."""
    optimizer = sgd_wrapper(
        model,
        lr=config["lr"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        mults=mults,
    )
    scheduler = poly_lr(optimizer, config["max_step"], config["power"])
    history: dict[str, Any] = {"lr": []}
    for _ in range(config["steps"]):
        history["lr"].append(group_lrs(optimizer))
        for name, value in model.train_step(data, optimizer).items():
            history.setdefault(name, []).append(float(value.detach()))
        scheduler.step()
    return history


def changes(before: dict[str, torch.Tensor], model: nn.Module) -> tuple[dict[str, torch.Tensor], int]:
    """Per parameter after - before, and how many parameters are bit-identical."""
    after = dict(model.named_parameters())
    deltas = {name: after[name].detach() - before[name] for name in after}
    return deltas, sum(torch.equal(after[name], before[name]) for name in after)
