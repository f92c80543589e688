"""Golden cases of WeakTr: its network, the losses of its training step, its CAMs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from harness.data.palette import IGNORE
from methods.modules.conversion import account
from methods.weaktr.backbone import ClassTokenViT, attend
from methods.weaktr.model import WeakTr, convert_authors
from methods.weaktr.network import AttentionFusion
from methods.weaktr.segmenter import clip_loss
from tests.golden.case import Case, adapter
from tests.golden.semples_state import semples_state
from tests.golden.training import shipped_optimizer

SOURCES = {"fused": "fused", "patchcam": "patchcam", "transcam": "attention"}


def weaktr_network(case: Case) -> tuple[WeakTr, dict[str, str]]:
    """The case's network through the converter of released checkpoints, and why tensors were left out."""
    config = case.config
    conversion = convert_authors(semples_state(case))
    assert conversion.complete
    with torch.device("meta"):
        network = WeakTr(
            80 if config["num_classes"] == 90 else config["num_classes"],
            channels="coco90" if config["num_classes"] == 90 else "classes",
            reduction=config["reduction"],
            pooling=config["pool"],
            source=SOURCES[config.get("attention_type", "fused")],
            frozen=config["network"] == "semples",
        )
    network.load_state_dict(conversion.state, assign=True)
    return network.requires_grad_().eval(), conversion.dropped


@adapter("weaktr.voc.train_outputs", "weaktr.coco.train_outputs")
@torch.no_grad()
def train_outputs(case: Case) -> dict[str, Any]:
    network, _ = weaktr_network(case)
    scores = network.scores(case.tensors["image"])
    return {
        "cls_token_pred": scores["cls"],
        "coarse_cam_pred": scores["coarse"],
        "fine_cam_pred": scores["fine"],
    }


@adapter(
    "weaktr.voc.cam_fused",
    "weaktr.voc.cam_patchcam",
    "weaktr.voc.cam_attention_only",
    "weaktr.voc.cam_nonsquare",
    "weaktr.voc.cam_square_other",
    "semples.voc.cam_fused",
    "semples.coco.cam_fused",
)
@torch.no_grad()
def cam(case: Case) -> dict[str, Any]:
    network, _ = weaktr_network(case)
    features = network.features(case.tensors["image"])
    cams = network.cams(features)
    return {
        "cls_token_pred": features.classes.mean(-1),
        "cams": cams.maps,
        "patch_attn": cams.affinity[None],
        "refined_cams": cams.refined(),
    }


@adapter("weaktr.voc.internals")
@torch.no_grad()
def internals(case: Case) -> dict[str, Any]:
    network, _ = weaktr_network(case)
    features = network.features(case.tensors["image"])
    tokens, _ = network.backbone.embed(case.tensors["image"])
    branches = []
    for block in network.backbone.blocks:
        tokens, _, branch = attend(block, tokens)
        branches.append(branch)
    return {
        "class_tokens": features.classes,
        "patch_tokens": features.patches.flatten(2).transpose(1, 2),
        "attn_layer0": features.attention[0],
        "attn_layer11": features.attention[-1],
        "attn_out_layer0": branches[0],
        "attn_out_layer11": branches[-1],
    }


@adapter("weaktr.voc.position_embedding")
@torch.no_grad()
def position_embedding(case: Case) -> dict[str, Any]:
    with torch.device("meta"):
        backbone = ClassTokenViT(case.config["num_classes"])
    backbone.pos_embed = torch.nn.Parameter(semples_state(case)["pos_embed"])
    sizes = [(height, width) for height, width in case.config["sizes"]]
    return {f"pos_{height}x{width}": backbone.positions((height, width)) for height, width in sizes}


@adapter("aaf.reduction8_max", "aaf.reduction4_avg")
@torch.no_grad()
def fusion(case: Case) -> dict[str, Any]:
    features, attention = case.tensors["attn_feats"], case.tensors["attn"]
    heads, depth = 6, features.shape[1] // 6
    module = AttentionFusion(
        heads,
        depth,
        features.shape[-1] * heads,
        reduction=case.config["reduction"],
        pooling=case.config["pool"],
    )
    ours = {"attn_head_ffn": "map_ffn", "attn_feat_ffn": "feature_ffn"}
    conversion = account(semples_state(case), ours, module.state_dict())
    assert conversion.complete
    module.load_state_dict(conversion.state)
    pooled = module.pool(features, dim=2)
    weights = module.weights(pooled)[:, :, None, None]
    fused = weights * attention
    by_block = attention.unflatten(1, (heads, depth)).unbind(2)
    torch.testing.assert_close(module(pooled, by_block), fused.mean(1))
    return {"weight": weights, "fused": fused, "same_as_first": 0.0}


def their_name(name: str) -> str:
    """Released name of a parameter of ours."""
    for ours, theirs in (
        ("backbone.patch_embed.", "patch_embed.proj."),
        ("backbone.", ""),
        ("fusion.feature_ffn.", "adaptive_attention_fusion.attn_feat_ffn."),
        ("fusion.map_ffn.", "adaptive_attention_fusion.attn_head_ffn."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


@adapter("weaktr.voc.train_step", "weaktr.coco.train_step")
def train_step(case: Case) -> dict[str, Any]:
    network, unused = weaktr_network(case)
    config = case.config
    optimizer = shipped_optimizer(network, "weaktr", "cam", config["lr"]).optimizer
    assert {group["weight_decay"] for group in optimizer.param_groups} == {config["weight_decay"]}
    terms = network.loss(case.tensors["image"], case.tensors["target"].float())
    total = sum(terms.values())
    total.backward()
    parameters = {their_name(name): p for name, p in network.named_parameters()}
    gradients = {f"grad.{name}": parameters[name].grad.clone() for name in config["grads_of"]}
    optimizer.step()
    still = [name for name, p in parameters.items() if p.grad is None]
    return {
        "loss": total,
        "cls_loss": terms["loss_cls"],
        "pat_loss": terms["loss_coarse"],
        "attn_loss": terms["loss_fine"],
        "parameters_without_gradient": sorted([*still, *unused]),
        **gradients,
        **{f"after.{name}": parameters[name] for name in config["grads_of"]},
    }


@adapter("weaktr.retrain.clipped_loss_active", "weaktr.retrain.clipped_loss_inactive")
def clipped_loss(case: Case) -> dict[str, Any]:
    logits = case.tensors["logits"].requires_grad_()
    loss = F.cross_entropy(logits, case.tensors["labels"], ignore_index=IGNORE, reduction="none")
    clipped = clip_loss(loss, start=case.config["start_value"], patch=case.config["patch_size"])
    clipped.mean().backward()
    return {"original_loss": loss, "clipped_loss": clipped, "mean": clipped.mean(), "grad": logits.grad}
