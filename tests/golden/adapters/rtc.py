"""Golden cases of RTC: network, single functions, a whole training step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.palette import IGNORE
from harness.ops.pixel_adaptive import PixelAdaptive
from methods.modules.equivariance import (
    adaptive_min_pooling,
    equivariance_losses,
    max_norm,
    max_one_hot,
    pixel_correlation,
    resize,
    with_background_complement,
)
from methods.modules.prototypes import normalised_cam, pseudo_labels
from methods.modules.refined_labels import Thresholds, refined_labels
from methods.modules.resnet38 import Stages
from methods.rtc.compensator import structure_loss
from methods.rtc.labels import balanced_cross_entropy, pseudo_masks
from methods.rtc.model import RTC, View, convert_authors
from methods.seam.model import BACKGROUND, view_classification
from tests.golden.adapters.hsc import on_meta, with_gradients
from tests.golden.case import Case, adapter

HEADS = {
    "refinement.": "",
    "backbone.": "",
    "segmentation.conv": "fc8_seg_conv",
    "segmentation.proj.": "proj2.",
    "segmentation.classifier.": "classifier2.",
}


def their_name(name: str) -> str:
    """Released name of a parameter of ours."""
    for ours, theirs in HEADS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def rtc_network(case: Case) -> RTC:
    """The case's network, through the converter of authors' checkpoints."""
    kernels = {name: torch.zeros(shape) for name, shape in case.raw["state"].items() if "_aff" in name}
    filled = {name: shape for name, shape in case.raw["state"].items() if name not in kernels}
    state = Case(case.method, {**case.raw, "state": filled, "config": {}}).state() | kernels
    conversion = convert_authors(state)
    assert conversion.complete
    assert set(conversion.dropped) == {"fc8.weight", *kernels}
    network = on_meta(lambda: RTC(20, {"type": "ResNet38"}))
    network.load_state_dict(conversion.state, assign=True)
    return network.eval()


def named(view: View) -> dict[str, Tensor]:
    """A view's maps under their released names."""
    maps = {
        "cam": view.cam,
        "cam_rv": view.refined,
        "f_proj": view.embedding,
        "cam_rv_down": view.refined_small,
    }
    return maps if view.seg is None else maps | {"seg_mask": view.seg}


@adapter("rtc.network.features")
@torch.no_grad()
def features(case: Case) -> dict[str, Any]:
    return rtc_network(case).backbone(case.tensors["x"])._asdict()


@adapter("rtc.network.forward_seg", "rtc.network.forward_no_seg")
@torch.no_grad()
def forward(case: Case) -> dict[str, Any]:
    return named(rtc_network(case).view(case.tensors["x"], segment="seg_mask" in case.outputs))


@adapter("rtc.network.backward", "rtc.network.backward_cam_rv_only")
def backward(case: Case) -> dict[str, Any]:
    network = rtc_network(case).requires_grad_(True)
    (x,) = with_gradients(case, "x")
    maps = named(network.view(x, segment=True))
    terms = maps.values() if case.config["terms"] == "all" else [maps[case.config["terms"]]]
    loss = torch.stack([term.square().mean() for term in terms]).sum()
    loss.backward()
    found = {their_name(n): p.grad for n, p in network.named_parameters() if p.grad is not None}
    return {
        "loss": loss,
        "grad_x": x.grad,
        "number_of_parameters_with_a_gradient": len(found),
        **{f"grad_{name}": found[name] for name in case.config["parameters"]},
    }


@adapter("rtc.network.fcm")
@torch.no_grad()
def fcm(case: Case) -> dict[str, Any]:
    network, data = rtc_network(case), case.tensors
    stages = Stages(torch.empty(0), data["conv4"], data["conv5"], data["conv6"])
    return {"cam_rv_down": network.refinement(data["x"], stages, data["cam"])}


@adapter("rtc.network.pcm")
def pcm(case: Case) -> dict[str, Any]:
    (f,) = with_gradients(case, "f")
    refined = pixel_correlation(case.tensors["cam"], f)
    refined.square().sum().backward()
    return {"cam_rv": refined, "grad_f_of_sum_of_squares": f.grad}


@adapter("rtc.loss.min_pooling")
def min_pooling(case: Case) -> dict[str, Any]:
    (x,) = with_gradients(case, "x")
    loss = adaptive_min_pooling(x)
    loss.backward()
    return {"loss": loss, "grad_x": x.grad}


@adapter("rtc.cam.max_norm")
def cam_max_norm(case: Case) -> dict[str, Any]:
    (x,) = with_gradients(case, "x")
    normed = max_norm(x)
    (normed * case.tensors["w"]).sum().backward()
    return {"normed": normed, "grad_x_of_weighted_sum": x.grad}


@adapter("rtc.cam.max_onehot")
def cam_max_onehot(case: Case) -> dict[str, Any]:
    return {"onehot": max_one_hot(case.tensors["x"], passing=BACKGROUND)}


@adapter("rtc.cam.normal")
def cam_normal(case: Case) -> dict[str, Any]:
    normed = normalised_cam(case.tensors["cam_rv_down"], case.config["bg_threshold"])
    return {"normed": normed, "pseudo_label": pseudo_labels(normed, case.tensors["label"])[:, None]}


@adapter("rtc.loss.balanced_mask_ce")
def balanced_mask_ce(case: Case) -> dict[str, Any]:
    (logits,) = with_gradients(case, "seg_logits")
    masks = case.tensors["seg_label"]
    masks = masks.masked_fill(masks == case.config["code_for_255"], IGNORE)
    per_image = balanced_cross_entropy(logits, masks, case.tensors["image_label"])
    per_image.mean().backward()
    return {"loss_per_image": per_image, "grad_seg_logits_of_mean": logits.grad}


@adapter("rtc.loss.class_relation_unused")
def class_relation_unused(case: Case) -> dict[str, Any]:
    """No part of any loss, so that the project has no such function: the formula of spec section 5.10."""
    share = (case.tensors["f"] @ case.tensors["prototypes"].T).softmax(1)
    overlap = share.T @ share
    return {"loss": 0.1 * (overlap - overlap.diag().diag()).sum(1).mean()}


@adapter("rtc.loss.structure_unused")
def structure_unused(case: Case) -> dict[str, Any]:
    """Likewise, spec section 5.7."""
    leaves = with_gradients(case, "feat1", "feat2")
    first, second = ((-(x.flatten(1)[:, None] - x.flatten(1)).square().sum(-1)).exp() for x in leaves)
    loss = -(first * (second + 1e-12).log()).mean()
    loss.backward()
    return {"loss": loss, "grad_feat1": leaves[0].grad}


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, H, W) bool from the released boxes: top, bottom, left, right."""
    rows, columns = (torch.arange(side) for side in size)
    top, bottom, left, right = boxes.T[:, :, None]
    of_rows, of_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return of_rows[:, :, None] & of_columns[:, None]


@adapter("rtc.refine.labels")
def refine_labels(case: Case) -> dict[str, Any]:
    size, labels = tuple(case.config["upsampled_to"]), case.tensors["image_label"]
    image, cams = (resize(case.tensors[name], size) for name in ("image", "cams"))
    found = refined_labels(
        image,
        cams * labels[:, :, None, None],
        labels,
        inside(case.tensors["img_box"], size),
        Thresholds(low=0.20, high=0.55),
        PixelAdaptive("varm"),
    )
    counts = [(found == 0).sum(), ((found > 0) & (found < IGNORE)).sum(), (found == IGNORE).sum()]
    return {"label": found.float(), "count_of_0_1to20_255": torch.stack(counts)}


def stated_background(case: Case) -> Any:
    """The pixels that the reference's top-k returned for the background, of one view and then the other."""
    positions = iter([case.tensors["bg_topk_1"], case.tensors["bg_topk_2"]] * 2)
    return lambda scores, labels, count: next(positions)


def step_model(case: Case) -> RTC:
    """RTC's losses with the settings of a case; its network is not used."""
    model = RTC(
        20,
        {"type": "ResNet38", "base_channels": 1},
        background_score=case.config["bg_threshold"],
        segmentation={"width": 2},
    )
    model.background_pixels = stated_background(case)
    return model


@adapter("rtc.train.step", "rtc.train.step_with_seg")
def train_step(case: Case) -> dict[str, Any]:
    config, model = case.config, step_model(case)
    leaves = {
        name: resize(case.tensors[name], size).requires_grad_()
        for name, size in config["upsampled_to"].items()
    }
    first = View(*(leaves[name] for name in ("cam1", "cam_rv1", "f_proj1", "cam_rv1_down", "seg_mask")))
    second = View(*(leaves[name] for name in ("cam2", "cam_rv2", "f_proj2", "cam_rv2_down")), None)
    image, labels = leaves.pop("img1").detach(), case.tensors["image_label"]
    content = inside(case.tensors["img_box"], (image.shape[-2], image.shape[-1]))
    losses = model.two_view_losses(first, second, content, labels)
    losses["loss_seg"] = torch.zeros(())
    outputs: dict[str, Any] = {}
    if config["ep"] >= 7:
        masks = pseudo_masks(image, first.refined_small, labels, content, model.thresholds, model.refine)
        losses["loss_seg"] = balanced_cross_entropy(leaves["seg_mask"], masks, labels).mean()
        outputs["seg_label"] = masks
    total = torch.stack([value for name, value in losses.items() if "loss" in name]).sum()
    total.backward()
    zeros = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return {
        **outputs,
        **intermediate(model, first, second, content, labels),
        "loss_cls": losses["loss_cls"],
        "loss_er": losses["loss_er"],
        "loss_ecr": losses["loss_ecr"],
        "loss_struct": losses["loss_struct"],
        "loss_intra_nce": losses["loss_intra"],
        "loss_cross_nce1": losses["loss_cross_label"],
        "loss_cross_nce2": losses["loss_cross_prototype"],
        "loss_nce": losses["loss_intra"] + losses["loss_cross_label"] + losses["loss_cross_prototype"],
        "loss_class_relation": losses["class_relation"],
        "loss_seg": losses["loss_seg"],
        "loss": total,
        **{f"grad_{name}": zeros[name] if x.grad is None else x.grad for name, x in leaves.items()},
    }


@torch.no_grad()
def intermediate(model: RTC, first: View, second: View, content: Tensor, labels: Tensor) -> dict[str, Any]:
    """What a step computes on the way."""
    present = F.pad(labels, (1, 0), value=1.0)
    features = (resize(first.embedding, second.embedding.shape[-2:]), second.embedding)
    guidance = model.guide((first.refined_small, second.refined_small), features, content, present)
    # The release compensates all classes of the batch in all images.
    compensated = model.compensated(features, guidance, guidance.present.expand_as(present))
    terms = [view_classification(view[:2], labels) for view in (first, second)]
    equivariance = equivariance_losses(
        (first.cam, second.cam),
        (first.refined, second.refined),
        present,
        background=BACKGROUND,
        passing=BACKGROUND,
    )
    found: dict[str, Any] = {"loss_ecr1": equivariance.ecr_first, "loss_ecr2": equivariance.ecr_second}
    for view in (0, 1):
        complete = with_background_complement(equivariance.maps[view], BACKGROUND)
        found |= {
            f"loss_cls{view + 1}": terms[view][0],
            f"loss_rvmin{view + 1}": terms[view][1],
            f"cam{view + 1}_after_aliasing": max_one_hot(complete, passing=BACKGROUND),
            f"cam_rv{view + 1}_down_normed": guidance.cams[view],
            f"pseudo_label{view + 1}": guidance.labels[view].flatten(),
            f"prototypes{view + 1}": guidance.prototypes[view],
            f"compensated_cam{view + 1}": compensated[view],
            f"loss_struct{view + 1}": structure_loss(equivariance.maps[view], compensated[view], present),
        }
    return found
