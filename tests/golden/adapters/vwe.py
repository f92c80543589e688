"""Golden cases of VWE and VWL: networks, modules, losses, training steps, inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.vwe.checkpoint import convert_authors
from methods.vwe.encoder import assign_words, init_codebook, update_codebook, word_means
from methods.vwe.losses import decorrelation_loss, hybrid_pool, word_entropy
from methods.vwe.model import VWE
from tests.golden.adapters.cam import (
    gradients,
    infer_image,
    labelled_batch,
    parameter_names,
    scale_maps,
    scores_of,
)
from tests.golden.case import Case, adapter
from tests.golden.training import NEW_LAYERS, changes, poly_lr, sgd_wrapper, shipped_recipe, train_steps

DEPTHS = {"resnet50": 50, "resnet101": 101}


def vwe_network(case: Case) -> VWE:
    """The case's network with its state, loaded through the converter of authors' checkpoints."""
    config = case.config
    backbone = {"type": "StageResNet", "depth": DEPTHS[config["backbone"]]}
    network = VWE(
        config.get("n_classes", 20),
        backbone,
        variant=config["variant"],
        k_words=config.get("k_words", 256),
        hspp_levels=config.get("hspp_levels", (1, 2, 4)),
        hspp_gamma=config.get("hspp_gamma", 2),
    )
    conversion = convert_authors(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state)
    if "codebook" in case.tensors:
        network.codebook.copy_(case.tensors["codebook"])
    return network.eval()


@adapter("network.vwe.forward_train", "network.vwl_learned.forward_train", "network.vwl_memory.forward_train")
@torch.no_grad()
def forward_train(case: Case) -> dict[str, Any]:
    network = vwe_network(case)
    out = network.outputs(case.tensors["image"])
    return {
        "image_logits": out.image_logits,
        "hist_logits": out.hist_logits,
        "word_logits": out.word_logits,
        "word_labels": out.words.labels,
        "x4": out.features,
        "assignment": out.words.soft,
        "word_index": out.words.index,
        "words_per_image": out.words.labels.sum(dim=1),
        "loss_decov": decorrelation_loss(network.codebook),
        "loss_entropy": word_entropy(out.word_logits),
    }


@adapter("network.vwe.forward_cam", "network.vwl_learned.forward_cam", "network.vwl_memory.forward_cam")
@torch.no_grad()
def forward_cam(case: Case) -> dict[str, Any]:
    network, image = vwe_network(case), case.tensors["image"]
    return {"image_logits": network.image_logits(network.features(image)), "cam": network(image)}


@adapter("network.vwe.stages")
@torch.no_grad()
def stages(case: Case) -> dict[str, Any]:
    outputs = vwe_network(case).backbone(case.tensors["image"])
    return {f"x{layer}": outputs[layer] for layer in range(1, 5)}


@adapter("module.hspp.even", "module.hspp.odd", "module.hspp.tiny", "module.hspp.minimum")
def hspp(case: Case) -> dict[str, Any]:
    return {"pooled": hybrid_pool(case.tensors["x"], case.config["levels"], case.config["gamma"])}


@adapter("module.encode", "module.encode.tau")
def encode(case: Case) -> dict[str, Any]:
    words = assign_words(case.tensors["x"], case.tensors["centroid"].flatten(1), case.config["tau"])
    return {
        "assignment": words.soft,
        "histogram": words.histogram,
        "word_labels": words.labels,
        "word_index": words.index,
        "words_per_image": words.labels.sum(dim=1).long(),
    }


@adapter("module.encode.backward")
def encode_backward(case: Case) -> dict[str, Any]:
    x = case.tensors["x"].requires_grad_()
    centroid = case.tensors["centroid"].requires_grad_()
    words = assign_words(x, centroid.flatten(1), case.config["tau"])
    value = (words.histogram * case.tensors["weight"]).sum()
    value.backward()
    return {"value": value, "grad_centroid": centroid.grad, "grad_x_is_none": float(x.grad is None)}


@adapter("module.codebook_init")
def codebook_init(case: Case) -> dict[str, Any]:
    torch.manual_seed(0)
    return {"std": init_codebook(case.config["k_words"], case.config["fan_in"]).std()}


@adapter("loss.multilabel")
def multilabel(case: Case) -> dict[str, Any]:
    """The loss terms as `VWE.loss` forms them, from given logits."""
    image, hist, word = (
        case.tensors[name].requires_grad_() for name in ("image_logits", "hist_logits", "word_logits")
    )
    labels, word_labels = case.tensors["labels"], case.tensors["word_labels"].float()
    terms = (
        F.multilabel_soft_margin_loss(image, labels),
        F.multilabel_soft_margin_loss(hist, labels),
        F.multilabel_soft_margin_loss(word, word_labels),
    )
    sum(terms).backward()
    loss_image, loss_hist, loss_word = terms
    return {
        "loss_image": loss_image,
        "loss_hist": loss_hist,
        "loss_word": loss_word,
        "total_vwe": loss_image + loss_hist + loss_word,
        "total_vwl_memory": loss_image + loss_word,
        "grad_image_logits": image.grad,
        "grad_word_logits": word.grad,
    }


@adapter("loss.decov")
def decov(case: Case) -> dict[str, Any]:
    centroid = case.tensors["centroid"].requires_grad_()
    loss = decorrelation_loss(centroid.flatten(1))
    loss.backward()
    return {"loss": loss, "grad": centroid.grad}


@adapter("loss.entropy")
def entropy(case: Case) -> dict[str, Any]:
    return {"loss": word_entropy(case.tensors["word_logits"])}


@adapter("train.vwe.total_backward", "train.vwl_learned.total_backward", "train.vwl_memory.total_backward")
def total_backward(case: Case) -> dict[str, Any]:
    network = vwe_network(case)
    terms = network(**labelled_batch(case), mode="loss")
    total, _ = network.parse_losses(dict(terms))
    total.backward()
    logged = {"loss_entropy": terms["entropy"], "loss_hist_unused": terms.get("hist")}
    return {**terms, **logged, "total": total, **gradients(network, case, parameter_names(case))}


@adapter("train.vwe.three_steps")
def three_steps(case: Case) -> dict[str, Any]:
    network = vwe_network(case)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    mults = dict.fromkeys(NEW_LAYERS, case.config["head_lr_mult"])
    history = train_steps(network, labelled_batch(case), case.config, mults)
    deltas, unchanged = changes(before, network)
    shapes = case.raw["state"]
    return {
        **{name: np.array(values) for name, values in history.items()},
        "unchanged_parameters": unchanged,
        **{
            f"delta:{theirs}": deltas[ours].reshape(shapes[theirs])
            for theirs, ours in parameter_names(case).items()
            if ours in deltas
        },
    }


@adapter("train.vwl_memory.codebook_update")
def codebook_update(case: Case) -> dict[str, Any]:
    features, codebook = case.tensors["x4"], case.tensors["codebook"]
    index = assign_words(features, codebook).index
    means, counts = word_means(features, index, codebook.shape[0])
    updated = update_codebook(codebook, features, index, case.config["rho"])
    return {"codebook": updated, "word_mean": means, "word_index": index, "counts": counts}


@adapter("schedule.poly")
def schedule_poly(case: Case) -> dict[str, Any]:
    """The case of both files, by the shipped configs: VWE's, or those of the CAM network and IRNet."""
    config, iterations = case.config, case.arrays["iteration"].tolist()
    if "cam" in config:
        cam, irn = (
            shipped_recipe(name, name, config[name]["lr"][0], config[name]["max_step"], iterations)
            for name in ("cam", "irn")
        )
        assert cam.momentum == irn.momentum
        return {"cam_lr": cam.rates, "irn_lr": irn.rates, "momentum": cam.momentum}
    recipe = shipped_recipe("vwe", "cam", config["lr"], config["max_step"], iterations)
    return {"lr": recipe.rates, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}


class _Scalar(nn.Module):
    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(start)


@adapter("schedule.sgd_momentum_quirk")
def sgd_momentum_quirk(case: Case) -> dict[str, Any]:
    config, model = case.config, _Scalar(case.tensors["start"])
    optimizer = sgd_wrapper(
        model,
        lr=config["lr"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        mults={},
    )
    scheduler, trajectory = poly_lr(optimizer, config["max_step"], config["power"]), []
    for gradient in case.tensors["gradient"]:
        model.value.grad = gradient.reshape(1)
        optimizer.step()
        scheduler.step()
        trajectory.append(model.value.item())
    return {"trajectory": np.array(trajectory)}


@adapter("infer.multiscale_end_to_end")
def multiscale_end_to_end(case: Case) -> dict[str, Any]:
    return infer_image(vwe_network(case), case, "max", "direct")


@adapter("infer.fusion")
def fusion(case: Case) -> dict[str, Any]:
    return scores_of(scale_maps(case), case, tuple(case.config["image_size"]), "max", "direct")
