"""Golden cases of AffinityNet, which come with RTC's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.ops.affinity import pair_labels, search_geometry
from harness.ops.random_walk import pair_transition, propagate
from methods.modules.affinity_refiners import label_crf
from methods.modules.affinitynet import (
    AffinityNet,
    affinity_losses,
    convert_authors,
    pair_affinity,
)
from tests.golden.adapters.rtc_second_stage import upsampled, upsampled_image
from tests.golden.case import Case, adapter

RADIUS = 5
# The release lists pairs row by row, we by the length of their paths.
OURS = list(search_geometry(RADIUS).destinations)
ORDER = sorted(range(len(OURS)), key=lambda pair: OURS[pair])


def in_their_order(pairs: Tensor) -> Tensor:
    """(N, pairs, rows, columns) to (N, pairs, sources) in the release's order."""
    return pairs[:, ORDER].flatten(2)


def network(case: Case) -> AffinityNet:
    with torch.device("meta"):
        made = AffinityNet(21, {"type": "ResNet38"})
    conversion = convert_authors(case.state())
    assert conversion.complete
    made.load_state_dict(conversion.state, assign=True)
    made.eval()
    return made


@adapter("aff.network.forward")
@torch.no_grad()
def forward(case: Case) -> dict[str, Any]:
    return {"aff": in_their_order(pair_affinity(network(case)(case.tensors["x"]), RADIUS))}


@adapter("aff.network.random_walk")
@torch.no_grad()
def walk(case: Case) -> dict[str, Any]:
    features = network(case)(case.tensors["x"])
    height, width = size = features.shape[-2:]
    affinity = pair_affinity(features, RADIUS)[0]
    cells = torch.eye(height * width).unflatten(1, size)
    plain = pair_transition(affinity, size, RADIUS, beta=1)
    # A step divides column j by its sum; the affinities are what it was before.
    moved = plain.unflatten(plain.step(plain.flatten(cells))).flatten(1)
    sums = plain.unflatten(plain.scale.expand(1, -1)).flatten()
    step = pair_transition(affinity, size, RADIUS, case.config["beta"])
    steps = 2 ** case.config["logt"]
    pooled = F.avg_pool2d(case.tensors["cam"], 8)
    return {
        "dense_affinity": moved / sums,
        "transition": propagate(cells, step, steps).flatten(1),
        "cam_after_walk": propagate(pooled, step, steps).flatten(1),
    }


@adapter("aff.labels_and_loss")
def labels_and_loss(case: Case) -> dict[str, Any]:
    ignored, label = case.config["code_for_255"], case.tensors["label"][None].clone()
    label[label == ignored] = 255
    rows, columns = search_geometry(RADIUS).grid(*label.shape[-2:])
    theirs = case.tensors["aff"].requires_grad_()
    affinity = theirs[:, np.argsort(ORDER)].unflatten(2, (rows, columns))
    losses = affinity_losses(affinity, label, radius=RADIUS, num_classes=21)
    losses.total.backward()
    background, foreground, negative = (
        in_their_order(kind)[0].float() for kind in pair_labels(label, RADIUS, 21)
    )
    return {
        "bg_pos": background,
        "fg_pos": foreground,
        "neg": negative,
        "bg_loss": losses.background,
        "fg_loss": losses.foreground,
        "neg_loss": losses.negative,
        "loss": losses.total,
        "grad_aff": theirs.grad,
    }


@adapter("ppc.aff_prepare_crf")
def aff_prepare_crf(case: Case) -> dict[str, Any]:
    keys = case.arrays["image_label"].reshape(-1).nonzero()[0]
    maps = upsampled(case, "fused")
    label, marginals = label_crf(
        upsampled_image(case), maps[keys].numpy(), keys, case.config["alpha"], len(maps) + 1
    )
    return {"label_before": label, "q": marginals}
