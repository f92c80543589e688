"""Golden cases of MCC's optimisation: schedule, AdamW, the teacher, whole training steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import MODELS, PARAM_SCHEDULERS
from torch import Tensor, nn

from harness.config import find_config, load_config
from harness.schedules import WarmupPolyLR
from harness.schema import TrainStage
from methods.mcc.masks import enlarge
from methods.mcc.model import MCC
from methods.modules.refined_labels import resize
from methods.toco.heads import follow
from methods.toco.labels import affinity_labels
from methods.toco.network import Batch
from tests.golden.adapters.mcc import network_of
from tests.golden.adapters.mcc_losses import inside, with_planes
from tests.golden.case import Case, adapter
from tests.golden.training import shipped_optimizer, shipped_stage

OUR_PREFIX = {
    "encoder": "backbone",
    "proj_head": "projector",
    "proj_head_t": "teacher",
}


def stage_of(dataset: str) -> TrainStage:
    """The training of a shipped config, whose networks are registered from now on."""
    shipped_stage("mcc", "cam")
    found = load_config(find_config("mcc", dataset)).stages["cam"]
    assert isinstance(found, TrainStage)
    return found


def scheduler_of(optimizer: OptimWrapper, case: Case) -> WarmupPolyLR:
    """The config's schedule, in which the case's settings must be."""
    config = case.config
    dataset = config.get("dataset", "coco" if config["max_iters"] > 20000 else "voc")
    settings = dict(stage_of(dataset).param_scheduler)
    given = {"max_iters": "max_steps", "warmup_iters": "warmup", "warmup_ratio": "ratio", "power": "power"}
    settings |= {ours: config[theirs] for theirs, ours in given.items() if theirs in config}
    return PARAM_SCHEDULERS.build(settings | {"by_epoch": False}, default_args={"optimizer": optimizer})


def set_rates(optimizer: OptimWrapper, scheduler: WarmupPolyLR, iteration: int) -> None:
    """Set the rates of an iteration without the thousands of steps before it."""
    scheduler.last_step = iteration
    for group, rate in zip(optimizer.param_groups, scheduler._get_value(), strict=True):
        group["lr"] = rate


@adapter("optim.lr_voc", "optim.lr_coco", method="mcc")
def learning_rates(case: Case) -> dict[str, Any]:
    config = case.config
    stage_of("voc")
    with torch.device("meta"):
        model = MODELS.build(stage_of("voc").model)
    optimizer = shipped_optimizer(model, "mcc", "cam", config["lr"])
    groups = optimizer.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {config["weight_decay"]}
    assert {group["betas"] for group in groups} == {tuple(config["betas"])}
    scheduler = scheduler_of(optimizer, case)
    rates = []
    for iteration in config["iters"]:
        set_rates(optimizer, scheduler, iteration)
        rates.append(sorted({group["lr"] for group in groups if group["params"][0].requires_grad}))
    return {"lr": np.array(rates)}


def adamw(parameters: list[nn.Parameter], case: Case) -> torch.optim.AdamW:
    settings = dict(stage_of("voc").optim_wrapper["optimizer"])
    assert settings.pop("type") == "AdamW"
    given = {name: case.config[name] for name in ("lr", "weight_decay", "betas")}
    return torch.optim.AdamW(parameters, **{**settings, **given})


@adapter("optim.adamw", method="mcc")
def optim_adamw(case: Case) -> dict[str, Any]:
    parameter = nn.Parameter(case.tensors["param"].clone())
    optimizer = OptimWrapper(adamw([parameter], case))
    scheduler = scheduler_of(optimizer, case)
    for number, gradient in enumerate(case.tensors["grads"]):
        set_rates(optimizer, scheduler, case.config["start_step"] + number)
        parameter.grad = gradient
        optimizer.step()
    return {"param": parameter, "delta": parameter.detach() - case.tensors["param"]}


@adapter("optim.ema", method="mcc")
def optim_ema(case: Case) -> dict[str, Any]:
    teacher, student = (
        nn.ParameterList([nn.Parameter(case.tensors[name])]) for name in ("teacher", "student")
    )
    for _ in range(case.config["steps"]):
        follow(teacher, student, case.config["momentum"])
    return {"teacher": teacher[0]}


def step_batch(case: Case) -> Batch:
    height, width = case.config["size"]
    image = resize(case.tensors["x_low"], (height, width))
    return Batch(
        image,
        case.tensors["global2"],
        case.tensors["local"],
        inside(case.tensors["img_box"], (height, width)),
        case.tensors["cls_label"],
    )


def recorded(network: MCC, names: tuple[str, ...]) -> dict[str, Any]:
    """A dictionary that receives what methods of the network return in a step."""
    seen: dict[str, Any] = {}
    for name in names:
        setattr(network, name, partial(_record, seen, name, getattr(network, name)))
    return seen


def _record(seen: dict[str, Any], name: str, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
    seen[name] = method(*given, **named)
    return seen[name]


def ours(name: str) -> str:
    """Our name of a released parameter."""
    part, _, rest = name.partition(".")
    rest = rest.replace("weight_g", "parametrizations.weight.original0")
    rest = rest.replace("weight_v", "parametrizations.weight.original1")
    return f"{OUR_PREFIX.get(part, part)}.{rest}"


def after_step(network: MCC, before: dict[str, Tensor], case: Case) -> dict[str, Tensor]:
    """Gradients, changes and values that the case asks for; the ImageNet head, which we left out, rests."""
    parameters, found = dict(network.named_parameters()), {}
    for output in case.outputs:
        kind, _, name = output.partition(".")
        if kind not in ("grad", "delta", "after"):
            continue
        if name.startswith("encoder.head."):
            found[output] = torch.zeros(case.raw["state"][name])
            continue
        parameter = parameters[ours(name)]
        if kind == "grad":
            found[output] = parameter.grad
        else:
            found[output] = parameter.detach() - (before[ours(name)] if kind == "delta" else 0)
    return found


@adapter(
    "train.step_voc_warmup",
    "train.step_voc",
    "train.step_voc_late",
    "train.step_coco",
    method="mcc",
)
def train_step(case: Case) -> dict[str, Any]:
    config, batch = case.config, step_batch(case)
    stage = stage_of(config["dataset"])
    phases = stage.model["phases"]
    network = network_of(
        case,
        phases=phases,
        thresholds={"low": config["low_thre"], "high": config["high_thre"]},
        temperature=config["temp"],
        mask_scale=config["mask_scale"],
    ).train()
    network.iteration.fill_(config["n_iter"])
    masks = enlarge(case.tensors["coarse_masks"] > 0, config["mask_scale"]).transpose(0, 1)
    network.draw = lambda images, grid: masks
    seen = recorded(network, ("local_tokens", "pseudo_labels", "class_maps"))
    optimizer = shipped_optimizer(network, "mcc", "cam", stage.optim_wrapper["optimizer"]["lr"])
    set_rates(optimizer, scheduler_of(optimizer, case), config["n_iter"])
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    with torch.no_grad():
        logits = resize(network(batch.image), (batch.image.shape[-2], batch.image.shape[-1]))
    losses = network.loss(batch)
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    resting = sum(p.grad is None for p in network.parameters())
    resting += sum(name.startswith("encoder.head.") for name in case.raw["state"])
    optimizer.step()
    energy = losses["reg"]
    if config["n_iter"] < phases["seg"]:  # what does not count yet is not computed here, but by the release
        energy = network.energy(batch, logits, seen["pseudo_labels"])
    grid = network.backbone.grid(batch.image)
    labels = affinity_labels(seen["class_maps"][1], batch.content, grid, network.thresholds)
    return {
        "cls_loss": losses["loss_cls"],
        "cls_loss_aux": losses["loss_aux"],
        "aff_loss": losses["affinity"],
        "mcc_loss": losses["contrast"],
        "seg_loss": losses["seg"],
        "reg_loss": energy.reshape(1),
        "total": total.reshape(1),
        "flags": with_planes(seen["local_tokens"][1]),
        "pseudo_label": seen["pseudo_labels"],
        "aff_label": labels,
        "no_grad_params": [resting],
        **after_step(network, before, case),
    }
