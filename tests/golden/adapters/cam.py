"""Golden cases of the CAM baseline: network, gradients, training steps, fusion, the whole inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from harness.inference import MultiScaleCAM
from harness.ops.cam import CAMScores, FlipFusion, HighRes, cam_scores, fuse_flips
from methods.cam.model import CAMNet, convert_authors
from methods.modules.cam_classifier import CAMClassifier
from tests.golden.adapters.crf import grid_image
from tests.golden.case import Case, adapter
from tests.golden.training import changes, train_steps


def cam_network(case: Case) -> CAMNet:
    network = CAMNet(20, {"type": "StageResNet", "depth": 50, "detach_after": 2})
    conversion = convert_authors(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state)
    return network.eval()


def labelled_batch(case: Case) -> dict[str, Any]:
    """The case's images and labels as the model receives them."""
    samples = []
    for labels in case.tensors["labels"]:
        sample = SegDataSample()
        sample.image_labels = labels
        samples.append(sample)
    return {"inputs": case.tensors["image"], "data_samples": samples}


def gradients(model: torch.nn.Module, case: Case, ours: dict[str, str]) -> dict[str, Any]:
    """The case's `grad:<name>` outputs, 0 where there is no gradient, and its counts of parameters."""
    parameters = dict(model.named_parameters())
    result: dict[str, Any] = {
        "n_parameters": len(parameters),
        "n_parameters_with_grad": sum(p.grad is not None for p in parameters.values()),
    }
    for output, digest in case.outputs.items():
        if output.startswith("grad:"):
            gradient = parameters[ours[output.removeprefix("grad:")]].grad
            # A scalar digest is the golden files' word for "no gradient"; ours must then be absent, too.
            result[output] = (
                0.0 if gradient is None else gradient.reshape(digest.get("shape", gradient.shape))
            )
    return result


def our_name(theirs: str) -> str:
    """Our parameter name of an upstream one."""
    for prefix in ("resnet50.", "resnet."):
        if theirs.startswith(prefix):
            return "backbone." + theirs.removeprefix(prefix)
    return "codebook" if theirs == "VWE.centroid" else theirs


def parameter_names(case: Case) -> dict[str, str]:
    return {name: our_name(name) for name in case.raw["state"]}


def scores_of(
    maps: list[Tensor], case: Case, size: tuple[int, int], flips: FlipFusion | None, high_res: HighRes
) -> dict[str, Tensor]:
    """Fuse per-scale maps, (C, h, w) or pairs (2, C, h, w), with the case's labels."""
    batch = [(scale_map if flips is None else fuse_flips(scale_map, flips))[None] for scale_map in maps]
    scores: CAMScores = cam_scores(batch, case.tensors["labels"][None], size, high_res)[0]
    return {"keys": scores.keys, "cam": scores.cam, "high_res": scores.high_res}


@torch.no_grad()
def infer_image(network: CAMClassifier, case: Case, flips: FlipFusion, high_res: HighRes) -> dict[str, Any]:
    """The whole CAM inference of the case's image, as the `infer` stage does it."""
    inference = MultiScaleCAM(case.config["scales"], flip_fusion=flips, high_res=high_res)
    prepared = inference.prepare(grid_image(case), case.arrays["labels"])
    return inference.infer(network, prepared, torch.device("cpu"))


def scale_maps(case: Case) -> list[Tensor]:
    """The given maps of every scale, clipped as the network's ReLU would."""
    return [case.tensors[f"scale_{scale:g}"].clamp_min(0) for scale in case.config["scales"]]


@adapter("cam.forward_train")
@torch.no_grad()
def forward_train(case: Case) -> dict[str, Any]:
    network = cam_network(case)
    return {"image_logits": network.image_logits(network.features(case.tensors["image"]))}


@adapter("cam.forward_cam")
@torch.no_grad()
def forward_cam(case: Case) -> dict[str, Any]:
    return {"cam": fuse_flips(cam_network(case)(case.tensors["image_pair"]), "sum")}


@adapter("cam.loss_backward")
def loss_backward(case: Case) -> dict[str, Any]:
    network = cam_network(case)
    terms = network(**labelled_batch(case), mode="loss")
    total, _ = network.parse_losses(terms)
    total.backward()
    return {"loss": total, **gradients(network, case, parameter_names(case))}


@adapter("cam.three_steps")
def three_steps(case: Case) -> dict[str, Any]:
    network = cam_network(case)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    history = train_steps(
        network, labelled_batch(case), case.config, {"classifier": case.config["head_lr_mult"]}
    )
    deltas, unchanged = changes(before, network)
    return {
        "loss": np.array(history["loss"]),
        "lr": np.array(history["lr"]),
        "unchanged_parameters": unchanged,
        **{
            f"delta:{theirs}": deltas[ours]
            for theirs, ours in parameter_names(case).items()
            if ours in deltas
        },
    }


@adapter("cam.make_cam_end_to_end")
def make_cam_end_to_end(case: Case) -> dict[str, Any]:
    return infer_image(cam_network(case), case, "sum", "pad16")


@adapter("cam.fusion")
def fusion(case: Case) -> dict[str, Any]:
    return scores_of(scale_maps(case), case, tuple(case.config["image_size"]), None, "pad16")
