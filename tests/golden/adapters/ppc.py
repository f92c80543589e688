"""Golden cases of PPC, which come with RTC's."""

from __future__ import annotations

from typing import Any

import torch

from methods.modules.equivariance import resize
from methods.ppc.mining import mined_contrast
from methods.ppc.model import PPC, Maps, convert_authors
from tests.golden.adapters.hsc import on_meta
from tests.golden.adapters.rtc import stated_background
from tests.golden.adapters.seam import infer_fuse
from tests.golden.case import Case, adapter


@adapter("ppc.network.forward")
@torch.no_grad()
def network_forward(case: Case) -> dict[str, Any]:
    network = on_meta(lambda: PPC(20, {"type": "ResNet38"})).eval()
    conversion = convert_authors(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state, assign=True)
    cam, refined, embedding, refined_small = network.maps(case.tensors["x"])
    return {"cam": cam, "cam_rv": refined, "f_proj": embedding, "cam_rv_down": refined_small}


@adapter("ppc.train.step")
def train_step(case: Case) -> dict[str, Any]:
    config = case.config
    model = PPC(20, {"type": "ResNet38", "base_channels": 1}, background_score=config["bg_threshold"])
    model.background_pixels = stated_background(case)
    leaves = {
        name: resize(case.tensors[name], size).requires_grad_()
        for name, size in config["upsampled_to"].items()
    }
    first, second = (
        Maps(*(leaves[name.format(view)] for name in ("cam{}", "cam_rv{}", "f_proj{}", "cam_rv{}_down")))
        for view in (1, 2)
    )
    labels, (height, width) = case.tensors["image_label"], second.embedding.shape[-2:]
    # The case replaces the random half by the first pixels.
    priority = torch.arange(len(labels) * height * width).view(1, -1, height, width).expand(2, -1, -1, -1)
    losses = model.losses(first, second, labels, priority)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    with torch.no_grad():
        features = (resize(first.embedding, (height, width)), second.embedding)
        guidance = model.guide((first.refined_small, second.refined_small), features, labels)
        mined = [
            mined_contrast(maps, marked, table, chosen, temperature=model.temperature, hard=model.hard)
            for maps, marked, table, chosen in zip(
                features, guidance.labels, guidance.prototypes, priority, strict=True
            )
        ]
    nce = ("loss_cross_prototype", "loss_cross_label", "loss_intra")
    zeros = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return {
        "loss_cls": losses["loss_cls"],
        "loss_er": losses["loss_er"],
        "loss_ecr": losses["loss_ecr"],
        "loss_cross_nce": losses["loss_cross_prototype"],
        "loss_cross_nce2": losses["loss_cross_label"],
        "loss_intra_nce1": mined[0],
        "loss_intra_nce2": mined[1],
        "loss_intra_nce": losses["loss_intra"],
        "loss_nce": sum(losses[name] for name in nce),
        "loss": total,
        "prototypes1": guidance.prototypes[0],
        "prototypes2": guidance.prototypes[1],
        "pseudo_label1": guidance.labels[0].flatten(),
        "pseudo_label2": guidance.labels[1].flatten(),
        **{f"grad_{name}": zeros[name] if leaf.grad is None else leaf.grad for name, leaf in leaves.items()},
    }


@adapter("ppc.infer.fuse")
def fuse(case: Case) -> dict[str, Any]:
    """As SEAM's."""
    return dict(infer_fuse(case))
