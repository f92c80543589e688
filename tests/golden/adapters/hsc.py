"""Golden cases of HSC: the wide ResNet-38, pixel correlation, the losses, a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from methods.eps.losses import saliency_loss
from methods.hsc import contrast
from methods.hsc.model import HSC, Maps, convert_authors
from methods.modules.conversion import account
from methods.modules.deeplab_aspp import (
    _ASPP_NAMES,
    RESNET101S,
    DeepLabASPP,
    DeepLabLargeFOV,
    FusedASPP,
    convert_resnet101s,
)
from methods.modules.deeplab_aspp import convert_authors as convert_segmentation
from methods.modules.equivariance import (
    adaptive_min_pooling,
    competing_cam,
    equivariance_losses,
    max_norm,
    max_one_hot,
    pixel_correlation,
)
from methods.modules.resnet import FrozenBatchNorm2d
from methods.modules.resnet38 import ResNet38, ThreeConvUnit, TwoConvUnit, our_name
from methods.modules.wide_cam import WideCAM
from methods.modules.wide_cam import convert_authors as convert_classifier
from tests.golden.case import Case, adapter
from tests.golden.training import shipped_optimizer

BACKGROUND = 20
Module = TypeVar("Module", bound=torch.nn.Module)


def with_background(labels: Tensor) -> Tensor:
    """(n, 20) labels with the background set behind them."""
    return torch.cat([labels, torch.ones_like(labels[:, :1])], dim=1)


def with_gradients(case: Case, *names: str) -> list[Tensor]:
    """Inputs as leaves that collect gradients."""
    return [case.tensors[name].requires_grad_() for name in names]


def their_name(name: str) -> str:
    """Released name of a parameter or module of ours."""
    return name.removeprefix("backbone.").removeprefix("correlation.")


def on_meta(build: Callable[[], Module]) -> Module:
    """A network without tensors: filling it with random numbers first would take seconds."""
    with torch.device("meta"):
        return build()


def hsc_network(case: Case, **settings: Any) -> HSC:
    """The case's network, through the converter of authors' checkpoints, which hold no banks."""
    network = on_meta(lambda: HSC(20, {"type": "ResNet38"}, **settings))
    conversion = convert_authors(case.state())
    assert conversion.complete
    banks = {name: torch.zeros(bank.shape) for name, bank in network.banks()}
    network.load_state_dict(conversion.state | banks, assign=True)
    return network.eval()


@adapter("resnet38.res_block", "resnet38.res_block_same")
def res_block(case: Case) -> dict[str, Any]:
    config = case.config
    unit = TwoConvUnit(
        config["in"],
        config["mid"],
        config["out"],
        stride=config["stride"],
        dilations=(config["first_dilation"], config["dilation"]),
        norm=FrozenBatchNorm2d,
    )
    unit.load_state_dict(case.state())
    (x,) = with_gradients(case, "x")
    y, pre = unit(x)
    (y * case.tensors["gy"]).sum().backward()
    return {"y": y, "pre": pre, "grad_x": x.grad}


@adapter("resnet38.bottleneck")
@torch.no_grad()
def bottleneck(case: Case) -> dict[str, Any]:
    config = case.config
    unit = ThreeConvUnit(
        config["in"],
        config["out"],
        dilation=config["dilation"],
        dropout=config["dropout"],
        norm=FrozenBatchNorm2d,
    )
    unit.load_state_dict(case.state())
    y, pre = unit.eval()(case.tensors["x"])
    return {"y": y, "pre": pre}


@adapter("resnet38.trunk", "resnet38.trunk_odd_size")
@torch.no_grad()
def trunk(case: Case) -> dict[str, Any]:
    network = on_meta(ResNet38).eval()
    network.load_state_dict(case.state(), assign=True)
    return network(case.tensors["x"])._asdict()


@adapter("resnet38.mxnet_names")
def mxnet_names(case: Case) -> dict[str, Any]:
    return {"pairs": [[name, our_name(name)] for name in case.config["mxnet_names"]]}


@adapter("network.forward", method="hsc")
@torch.no_grad()
def network_forward(case: Case) -> dict[str, Any]:
    network, x = hsc_network(case), case.tensors["x"]
    maps = network.maps(x)
    stages = network.backbone(x)
    return {
        "pred": maps.cam.mean((2, 3)),
        "cam": maps.cam,
        "pred_rv": maps.refined.mean((2, 3)),
        "cam_rv": maps.refined,
        "f_map_1": maps.pixels,
        "f_map_2": maps.regions,
        "pcm_cam": competing_cam(maps.cam, BACKGROUND),
        "pcm_features": network.correlation.features(x, stages),
    }


@adapter("network.forward_cam", method="hsc")
@torch.no_grad()
def network_forward_cam(case: Case) -> dict[str, Any]:
    network, x = hsc_network(case), case.tensors["x"]
    return {
        "cam": network.cam_logits(x),
        "softmax": torch.cat([network(x), 1 - network(x).sum(1, keepdim=True)], dim=1),
    }


@adapter("pcm.refine")
def pcm_refine(case: Case) -> dict[str, Any]:
    (f,) = with_gradients(case, "f")
    f9 = case.state()["f9.weight"].requires_grad_()
    refined = pixel_correlation(case.tensors["cam"], F.conv2d(f, f9))
    (refined * case.tensors["gy"]).sum().backward()
    return {"cam_rv": refined, "grad_f": f.grad, "grad_f9": f9.grad}


@adapter("norm.max_norm")
def norm_max_norm(case: Case) -> dict[str, Any]:
    return {"y": max_norm(case.tensors["cam"])}


@adapter("norm.max_onehot")
def norm_max_onehot(case: Case) -> dict[str, Any]:
    return {"y": max_one_hot(case.tensors["cam"], passing=0)}


@adapter("loss.adaptive_min_pooling")
def loss_adaptive_min_pooling(case: Case) -> dict[str, Any]:
    (x,) = with_gradients(case, "x")
    loss = adaptive_min_pooling(x)
    loss.backward()
    return {"loss": loss, "grad_x": x.grad}


@adapter("loss.cls", method="hsc")
def loss_cls(case: Case) -> dict[str, Any]:
    (pred,) = with_gradients(case, "pred")
    loss = F.multilabel_soft_margin_loss(pred[:, :-1], case.tensors["label"])
    loss.backward()
    return {"loss": loss, "grad_pred": pred.grad}


@adapter("loss.eps", "loss.eps_refined_cam")
def loss_eps(case: Case) -> dict[str, Any]:
    (cam,) = with_gradients(case, "cam")
    result = saliency_loss(cam, case.tensors["saliency"], case.tensors["label"], **case.config)
    result.loss.backward()
    return {
        "loss": result.loss,
        "fg_map": result.foreground,
        "bg_map": 1 - result.background,  # the release returns the complement
        "sal_pred": result.predicted,
        "grad_cam": cam.grad,
        "overlap_ratio": result.overlap,
    }


@adapter("loss.er_ecr")
def loss_er_ecr(case: Case) -> dict[str, Any]:
    names = ("cam1", "cam2", "cam_rv1", "cam_rv2")
    cam1, cam2, refined1, refined2 = leaves = with_gradients(case, *names)
    losses = equivariance_losses(
        (cam1, cam2),
        (refined1, refined2),
        with_background(case.tensors["label"]),
        background=BACKGROUND,
        passing=0,
    )
    (losses.er + losses.ecr).backward()
    gradients = {f"grad_{name}": leaf.grad for name, leaf in zip(names, leaves, strict=True)}
    return {"loss_er": losses.er, "loss_ecr": losses.ecr, **gradients}


@adapter("loss.sim_min")
def loss_sim_min(case: Case) -> dict[str, Any]:
    bg, fg = with_gradients(case, "bg", "fg")
    loss = contrast.cosine_repulsion(bg, fg)
    loss.backward()
    return {"loss": loss, "grad_bg": bg.grad, "grad_fg": fg.grad}


def term_outputs(term: contrast.Term, leaves: list[Tensor], names: tuple[str, str]) -> dict[str, Any]:
    """A term's loss, its gradients and its banks under their released names."""
    term.loss.backward()
    return {
        "loss": term.loss,
        "grad_f_map1": leaves[0].grad,
        "grad_f_map2": leaves[1].grad,
        **{f"new_{name}": bank for name, bank in zip(names, term.banks, strict=True)},
    }


def pair(case: Case, first: str, second: str) -> tuple[Tensor, Tensor]:
    return case.tensors[first], case.tensors[second]


@adapter("loss.rsc")
def loss_rsc(case: Case) -> dict[str, Any]:
    leaves = with_gradients(case, "f_map1", "f_map2")
    names = ("memobank_fb", "memobank1_fb")
    term = contrast.roi_contrast(
        (leaves[0], leaves[1]),
        pair(case, "pseudo1", "pseudo2"),
        pair(case, *names),
        background=case.config["pseudo_background_index"],
        ema=case.config["ema"],
    )
    return term_outputs(term, leaves, names)


@adapter("loss.csc")
def loss_csc(case: Case) -> dict[str, Any]:
    leaves = with_gradients(case, "f_map1", "f_map2")
    names = ("memobank1", "memobank2")
    term = contrast.class_contrast(
        (leaves[0], leaves[1]),
        pair(case, "cam1", "cam2"),
        with_background(case.tensors["label"]),
        pair(case, *names),
        **case.config,
    )
    return term_outputs(term, leaves, names)


@adapter("loss.psc")
def loss_psc(case: Case) -> dict[str, Any]:
    leaves = with_gradients(case, "f_map1", "f_map2")
    names = ("memobank1_p", "memobank2_p")
    term = contrast.pixel_contrast(
        (leaves[0], leaves[1]),
        pair(case, "cam1", "cam2"),
        pair(case, "pseudo1", "pseudo2"),
        pair(case, *names),
        ema=case.config["ema"],
        temperature=case.config["temperature"],
    )
    return term_outputs(term, leaves, names)


BANKS = {
    "bank_classes_1": "memobank1",
    "bank_classes_2": "memobank2",
    "bank_regions_1": "memobank_fb",
    "bank_regions_2": "memobank1_fb",
    "bank_pixels_1": "memobank1_p",
    "bank_pixels_2": "memobank2_p",
}


def set_banks(network: HSC, case: Case) -> None:
    for ours, theirs in BANKS.items():
        getattr(network, ours).copy_(case.tensors[theirs])


def new_banks(network: HSC) -> dict[str, Tensor]:
    return {f"new_{theirs}": getattr(network, ours) for ours, theirs in BANKS.items()}


class RecordedTies:
    """Chooses like `top_positions`, but for tied rows what the reference chose, view by view."""

    def __init__(self, case: Case) -> None:
        self._views = [case.outputs[f"tied_topk_positions_view{view}"]["value"] for view in (1, 2)]

    def __call__(self, values: Tensor, count: int) -> Tensor:
        positions = contrast.top_positions(values, count)
        for row, chosen in self._views.pop(0).items():
            assert values[int(row)].topk(count).values.unique().numel() == 1
            positions[int(row)] = torch.tensor(chosen)
        return positions


def ties_of(case: Case) -> dict[str, Any]:
    """The recorded choices are inputs of ours, so they are handed back as they are."""
    return {name: case.outputs[name]["value"] for name in case.outputs if name.startswith("tied_")}


@adapter("loss.hsc_total")
def loss_hsc_total(case: Case) -> dict[str, Any]:
    score = case.config["bg_thres"]
    network = on_meta(lambda: HSC(20, {"type": "ResNet38"}, background_score=score))
    for name in BANKS:
        setattr(network, name, torch.empty(getattr(network, name).shape))
    set_banks(network, case)
    network.top = RecordedTies(case)
    names = ("f1_pix", "f1_roi", "f2_pix", "f2_roi")
    pixels1, regions1, pixels2, regions2 = leaves = with_gradients(case, *names)
    refined1, refined2 = pair(case, "cam_rv1", "cam_rv2")
    views = (Maps(refined1, refined1, pixels1, regions1), Maps(refined2, refined2, pixels2, regions2))
    present = with_background(case.tensors["label"])
    cams, pending = network.propose(views, case.tensors["img2"], present)
    labels = pending()
    terms = network.contrast(views, cams, labels, present)
    sum(terms.values()).backward()
    return {
        **terms,
        **{f"grad_{name}": leaf.grad for name, leaf in zip(names, leaves, strict=True)},
        **dict(zip(("pseudo_label_view1", "pseudo_label_view2"), labels, strict=True)),
        **new_banks(network),
        **ties_of(case),
    }


def recorded_labels(network: HSC) -> list[Tensor]:
    """A list that receives the pseudo labels after the CRF in a training step."""
    seen: list[Tensor] = []
    contrast_of = network.contrast

    def record(views: Any, cams: Any, labels: Tensor, present: Tensor) -> dict[str, Tensor]:
        seen.append(labels)
        return contrast_of(views, cams, labels, present)

    network.contrast = record
    return seen


@adapter("train.one_step")
def one_step(case: Case) -> dict[str, Any]:
    config, (image, saliency) = case.config, pair(case, "img", "saliency")
    network = hsc_network(
        case,
        view_size=config["view2_size"],
        tau=config["tau"],
        alpha=config["alpha"],
        background_score=config["bg_thres"],
    )
    set_banks(network, case)
    network.top = RecordedTies(case)
    labels = recorded_labels(network)
    optimizer = shipped_optimizer(network.train(), "hsc", "cam", config["lr"])
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.eval()
    terms = network.loss(image, saliency, case.tensors["label"])
    total = sum(terms.values())
    total.backward()
    parameters = {their_name(name): p for name, p in network.named_parameters()}
    gradients = {f"grad.{name}": p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    optimizer.step()
    untouched = [name for name, p in parameters.items() if p.grad is None and "bn" not in name]
    return {
        "loss": total,
        **terms,
        **gradients,
        "no_grad": untouched,
        **{f"updated.{name}": p for name, p in parameters.items()},
        **dict(zip(("pseudo_label_view1", "pseudo_label_view2"), labels[0], strict=True)),
        **new_banks(network),
        **ties_of(case),
    }


@adapter("seg.resnet101_stages")
@torch.no_grad()
def seg_resnet101_stages(case: Case) -> dict[str, Any]:
    backbone = on_meta(lambda: MODELS.build(RESNET101S))
    backbone.eval()  # returns nothing
    conversion = convert_resnet101s(case.state())
    assert conversion.complete
    backbone.load_state_dict(conversion.state, assign=True)
    return {f"layer{i}": y for i, y in enumerate(backbone(case.tensors["x"]), start=1)}


def segmentation_network(case: Case, **backbone: Any) -> DeepLabASPP | DeepLabLargeFOV:
    """The case's network, loaded through the converter of authors' checkpoints."""
    kind = DeepLabASPP if case.config["model"] == "deeplabv2" else DeepLabLargeFOV
    wide = case.config["backbone"] == "resnet38"
    network = on_meta(
        lambda: kind(
            case.config["num_classes"],
            {"type": "ResNet38", **backbone} if wide else RESNET101S,
            momentum=case.config["bn_momentum_head"],
        )
    )
    conversion = convert_segmentation(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state, assign=True)
    return network.eval()


@adapter("seg.deeplabv2_resnet101", "seg.deeplabv1_resnet101", "seg.deeplabv1_resnet38")
@torch.no_grad()
def seg_forward(case: Case) -> dict[str, Any]:
    network, x = segmentation_network(case), case.tensors["x"]
    return {"logits": network(x), "backbone_last": network.features(x)}


@adapter("seg.aspp")
def seg_aspp(case: Case) -> dict[str, Any]:
    config = case.config
    aspp = FusedASPP(config["in"], config["out"], config["rates"], momentum=0.0003).eval()
    names = {
        theirs.removeprefix("aspp."): ours.removeprefix("head.0.") for theirs, ours in _ASPP_NAMES.items()
    }
    conversion = account(case.state(), names, aspp.state_dict())
    assert conversion.complete
    aspp.load_state_dict(conversion.state)
    (x,) = with_gradients(case, "x")
    y = aspp(x)
    (y * case.tensors["gy"]).sum().backward()
    return {"y": y, "grad_x": x.grad}


def their_names(case: Case) -> dict[str, str]:
    """Released name of every tensor of our segmentation network, by our name."""
    shapes = {name: torch.empty(shape, device="meta") for name, shape in case.raw["state"].items()}
    ours = convert_segmentation(shapes).state
    identity = {id(tensor): name for name, tensor in shapes.items()}
    return {name: identity[id(tensor)] for name, tensor in ours.items()}


@adapter("seg.loss_and_grad")
def seg_loss_and_grad(case: Case) -> dict[str, Any]:
    network = segmentation_network(case)
    labels = case.tensors["label"].clone()
    labels[labels > 20] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    terms = network(case.tensors["x"], samples, mode="loss")
    terms["loss_seg"].backward()
    names = their_names(case)
    gradients = {
        f"grad.{names[name]}": p.grad for name, p in network.named_parameters() if p.grad is not None
    }
    return {"loss": terms["loss_seg"], **gradients}


@adapter("seg.train_mode_batchnorm", "seg.resnet38_as_trained")
@torch.no_grad()
def seg_train_mode(case: Case) -> dict[str, Any]:
    momentum = case.config["bn_momentum_backbone"]
    network = segmentation_network(case, norm="batch", bn_momentum=momentum, frozen_stages=0).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    logits = network(case.tensors["x"])
    names = their_names(case)
    after = {f"after.{names[name]}": tensor for name, tensor in network.state_dict().items()}
    convolutions = [p for name, p in network.named_parameters() if p.ndim == 4]
    return {
        "logits": logits,
        **after,
        "trainable_without_freeze": all(p.requires_grad for p in convolutions),
    }


@adapter("resnet38_cls.forward")
@torch.no_grad()
def resnet38_cls(case: Case) -> dict[str, Any]:
    network = on_meta(lambda: WideCAM(20, {"type": "ResNet38"})).eval()
    conversion = convert_classifier(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state, assign=True)
    features = network.features(case.tensors["x"])
    return {"logits": network.image_logits(features), "cam": network.activation_maps(features)}


@adapter("resnet38.trainable")
def resnet38_trainable(case: Case) -> dict[str, Any]:
    network = on_meta(lambda: HSC(20, {"type": "ResNet38"})).train()
    parameters = {their_name(name): p for name, p in network.named_parameters()}
    effective = (torch.nn.Dropout2d, torch.nn.BatchNorm2d)
    return {
        "frozen": [name for name, p in parameters.items() if not p.requires_grad],
        "modules_in_train_mode_with_effect": [
            their_name(name)
            for name, module in network.named_modules()
            if isinstance(module, effective) and module.training and not isinstance(module, FrozenBatchNorm2d)
        ],
        "param_count": sum(p.numel() for p in parameters.values()),
    }
