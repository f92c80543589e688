"""Golden cases of the second stage, DeepLab v2."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from methods.modules.deeplabv2 import (
    CAFFE_R101,
    DeepLabV2,
    convert_authors,
    multi_scale_loss,
    resize_labels,
)
from tests.golden.case import Case, adapter
from tests.golden.training import sgd_wrapper


@adapter("seg.deeplabv2.forward")
@torch.no_grad()
def forward(case: Case) -> dict[str, Any]:
    config = case.config
    network = DeepLabV2(
        config["n_classes"], CAFFE_R101, atrous_rates=config["atrous_rates"], scales=config["scales"]
    )
    conversion = convert_authors(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state)
    outputs = network.eval().multi_scale_logits(case.tensors["image"])
    return dict(zip(("scale_1", "scale_050", "scale_075", "maximum"), outputs, strict=True))


@adapter("seg.deeplabv2.loss")
def loss(case: Case) -> dict[str, Any]:
    pick = case.tensors["pick"]
    labels = torch.where(pick > 20, case.config["ignore_index"], pick)
    logits = [case.tensors[f"logits{i}"] for i in range(4)]
    logits[0].requires_grad_()
    parts = torch.stack(multi_scale_loss(logits, labels))
    total = parts.mean()
    total.backward()
    return {
        "loss": total,
        "parts": parts,
        "resized_label": resize_labels(labels, logits[0].shape[-2:]),
        "grad_logits0": logits[0].grad,
    }


@adapter("seg.deeplabv2.param_groups")
def param_groups(case: Case) -> dict[str, Any]:
    """Tensors and elements that train at 1, 10 and 20 times the base rate."""
    with torch.device("meta"):
        network = DeepLabV2(21, CAFFE_R101)
    optimizer = sgd_wrapper(network, lr=1e-3, momentum=0.9, weight_decay=5e-4, mults={})
    tensors, elements = np.zeros(3, np.int64), np.zeros(3, np.int64)
    # The wrapper lists a group of its own beside those of the optimiser, for the base rate.
    for group in optimizer.optimizer.param_groups:
        place = (1, 10, 20).index(round(group["lr"] / 1e-3))
        tensors[place] += len(group["params"])
        elements[place] += sum(parameter.numel() for parameter in group["params"])
    return {"tensors": tensors, "elements": elements}
