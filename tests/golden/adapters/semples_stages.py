"""Golden cases of SemPLeS: its three trainings, and seeds by object masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.ops.crf_refiner import channel_to_label
from methods.semples.convert import convert_openai, convert_prompts, tower_sizes
from methods.semples.fma import (
    ObjectMasks,
    label_masks,
    mask_seed,
    stretched,
    with_power_background,
)
from methods.semples.losses import Pairs, cosine
from methods.semples.model import (
    ContrastivePrompts,
    PromptGuidedRefinement,
    SegmentLabelMatching,
    SemPLeS,
)
from methods.weaktr.model import convert_authors
from tests.golden.adapters.weaktr import their_name
from tests.golden.case import Case, adapter
from tests.golden.semples_state import semples_state
from tests.golden.training import shipped_optimizer

STAGES: dict[str, tuple[type[SemPLeS], str, tuple[str, ...]]] = {
    "a": (SegmentLabelMatching, "match", ("back_weight",)),
    "b": (ContrastivePrompts, "prompts", ("text_weight",)),
    "c": (PromptGuidedRefinement, "cam", ("back_weight", "refine_weight")),
}


def stage_model(case: Case) -> SemPLeS:
    """The case's training, its network and CLIP through the converters of released files."""
    config = case.config
    kind, _, weights = STAGES[config["stage"]]
    network, clip = convert_authors(semples_state(case)), convert_openai(semples_state(case, "clip"))
    assert network.complete
    assert clip.complete
    many = config["num_classes"] == 90
    model = kind(
        {
            "num_classes": 80 if many else config["num_classes"],
            "channels": "coco90" if many else "classes",
            "reduction": config["reduction"],
            "pooling": config["pool"],
        },
        tower_sizes(clip.state),
        "coco90" if many else config["dataset"],
        **dict(zip(weights, config["hypers"], strict=True)),
        **({"length": case.arrays["prompts"].shape[1]} if "prompts" in case.arrays else {}),
    )
    model.network.load_state_dict(network.state)
    model.clip.load_state_dict(clip.state)
    if "prompts" in case.tensors:
        released = convert_prompts({"prompts": case.tensors["prompts"]})
        assert released.complete
        model.learned.load_state_dict(released.state)
    return model.eval()


def released_names(model: SemPLeS) -> dict[str, torch.nn.Parameter]:
    """What is trained, by the names of the release."""
    return {
        their_name(name.removeprefix("network.").removeprefix("learned.")): p
        for name, p in model.named_parameters()
        if p.requires_grad
    }


@torch.no_grad()
def seen(model: SemPLeS, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Masked images and similarities of the pairs of a batch, as they are before a step."""
    pairs = Pairs.of(labels)
    masked, texts = model.masked(images, pairs), model.texts()[pairs.classes]
    front, back = (model.clip.image_features(part) for part in masked)
    found: dict[str, Any] = {"masked_fg": masked.front, "masked_bg": masked.back}
    similarity = {"L_fg": cosine(front, texts), "L_bg": cosine(back, texts)}
    if isinstance(model, ContrastivePrompts):
        prompts = model.clip.prompt_features(model.learned.prompts)[pairs.classes]
        similarity = {"L_bg_prompt": cosine(back, prompts)}
    if isinstance(model, PromptGuidedRefinement):
        similarity["L_refine"] = cosine(front, model.prompt_features()[pairs.classes])
    return found | {f"{name}_similarity": value[:, None, None] for name, value in similarity.items()}


def unweighted(model: SemPLeS, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms by the names of the cases."""
    if isinstance(model, ContrastivePrompts):
        return {
            "L_bg_prompt": terms["loss_back_prompt"],
            "L_contrast_unweighted": terms["loss_text_prompt"] / model.text_weight,
        }
    assert isinstance(model, SegmentLabelMatching)
    found = {"L_fg": terms["loss_front"], "L_bg": terms["loss_back"] / model.back_weight}
    if isinstance(model, PromptGuidedRefinement):
        found["L_refine"] = terms["loss_refine"] / model.refine_weight
    return found


def gradients(model: SemPLeS) -> dict[str, Any]:
    parameters = released_names(model)
    found: dict[str, Any] = {f"grad.{name}": p.grad.clone() for name, p in parameters.items()}
    if isinstance(model, ContrastivePrompts):
        return found
    return found | {"trained_parameter_names": sorted(parameters)}


@adapter(
    *(f"stage_{stage}.{data}.loss_and_gradients" for stage in "abc" for data in ("voc", "coco")),
    "stage_a.voc.two_optimizer_steps",
    "stage_b.voc.two_optimizer_steps",
)
def stage(case: Case) -> dict[str, Any]:
    config, model = case.config, stage_model(case)
    images, labels = case.tensors["image"], case.tensors["target"]
    found: dict[str, Any] = {}
    optimizer = shipped_optimizer(model, "semples", STAGES[config["stage"]][1], config["lr"]).optimizer
    assert {group["weight_decay"] for group in optimizer.param_groups} == {config["weight_decay"]}
    for iteration in range(config.get("iterations", 1)):
        optimizer.zero_grad()
        before = {} if iteration else seen(model, images, labels)
        terms = model.loss(images, labels)
        total = sum(terms.values())
        total.backward()
        found[f"loss_iter{iteration}"] = total
        if not iteration:
            found |= before | unweighted(model, terms)
        found |= gradients(model)
        if config.get("optimizer_step"):
            optimizer.step()
    found |= {f"after.{name}": p for name, p in released_names(model).items()}
    return found | ({"prompts_after": model.learned.prompts} if isinstance(model, ContrastivePrompts) else {})


@adapter("fma.mask_seed.voc", "fma.mask_seed.coco")
def object_seed(case: Case) -> dict[str, Any]:
    cam, keys = case.arrays["cam"], case.arrays["fg_cls"]
    masks = np.zeros((len(case.arrays["boxes"]), *cam.shape[1:]), dtype=bool)
    for mask, (top, left, bottom, right) in zip(masks, case.arrays["boxes"], strict=True):
        mask[top:bottom, left:right] = True
    objects, power = ObjectMasks(masks, case.arrays["levels"]), case.config["pow"]
    labelled = label_masks(cam, objects, power)
    seed = mask_seed(cam, keys, objects, power)
    pixels = stretched(cam)
    return {
        "seed": seed.astype(np.int64),
        "unlabelled_is_background": float((seed == 0).mean()),
        "mask_seed": channel_to_label(labelled.channels, keys).astype(np.int64),
        "mask_conf": labelled.confidence,
        "pixel_fg_score": pixels,
        "pixel_bg_fg_score": with_power_background(pixels, power),
    }
