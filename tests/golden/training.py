"""A recipe's optimiser and schedule as a real training builds them, for golden cases of training steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, PolyLR, build_optim_wrapper
from mmseg.registry import MODELS
from torch import nn

from harness import schedules  # noqa: F401  registers them
from harness.components import import_modules
from harness.config import find_config, load_config
from harness.schema import TrainStage

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


@dataclass(frozen=True)
class Recipe:
    """What a shipped config trains with: rates per asked iteration, ascending; momentum; weight decay."""

    rates: np.ndarray
    momentum: float
    weight_decay: float


def shipped_stage(method: str, stage: str) -> TrainStage:
    """A train stage of `methods/<method>/voc.py`, whose networks are registered from now on."""
    config = load_config(find_config(method, "voc"))
    import_modules(config.custom_imports)
    found = config.stages[stage]
    assert isinstance(found, TrainStage)
    return found


def shipped_recipe(method: str, stage: str, lr: float, max_iters: int, at: list[int]) -> Recipe:
    """The optimiser of a stage of `methods/<method>/voc.py`, on its real network, run to the iterations `at`.

    Args:
        lr: the case's base rate, in place of the config's (`tests/unit/test_recipes.py` compares the two).
        max_iters: likewise the length of the schedule.
    """
    config = shipped_stage(method, stage)
    with torch.device("meta"):
        model = MODELS.build(config.model)
    optimizer = shipped_optimizer(model, method, stage, lr)
    assert config.param_scheduler["type"] == "PolyLR"
    scheduler = poly_lr(optimizer, max_iters, config.param_scheduler["power"])
    rates = []
    for iteration in range(max(at) + 1):
        if iteration in at:
            rates.append(group_lrs(optimizer))
        optimizer.step()
        scheduler.step()
    defaults = optimizer.optimizer.defaults
    return Recipe(np.array(rates), defaults["momentum"], defaults["weight_decay"])


def shipped_optimizer(model: nn.Module, method: str, stage: str, lr: float) -> OptimWrapper:
    """The optimiser of a stage of `methods/<method>/voc.py` over such a model, with another base rate."""
    config = shipped_stage(method, stage)
    MMLogger.get_current_instance().setLevel("ERROR")
    wrapper = {**config.optim_wrapper, "optimizer": {**config.optim_wrapper["optimizer"], "lr": lr}}
    return build_optim_wrapper(model, wrapper)


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
