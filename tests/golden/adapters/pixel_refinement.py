"""Golden cases of PAR, PAMR and VARM."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from harness.ops.pixel_adaptive import Kind, PixelAdaptive
from tests.golden.case import Case, adapter


def refinement(case: Case, kind: Kind) -> PixelAdaptive:
    """The case's refinement with its settings."""
    return PixelAdaptive(kind, case.config["num_iter"], tuple(case.config["dilations"]))


def sized(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and masks of an MCC case, whose images may be a low resolution of what was refined."""
    images, masks = case.tensors["images"], case.tensors["masks"]
    if "size" in case.config:
        images = F.interpolate(images, size=case.config["size"], mode="bilinear", align_corners=False)
    return images, masks.softmax(1) if case.config.get("normalize") else masks


@adapter("par.forward", "par.same_size_noise", "par.flat_image")
def par(case: Case) -> dict[str, Any]:
    images, masks = sized(case)
    return {"masks": refinement(case, "par")(images, masks)}


@adapter("rtc.refine.par", "rtc.refine.pamr", "rtc.refine.varm")
def rtc_refinements(case: Case) -> dict[str, Any]:
    kind: Kind = case.name.rsplit(".", 1)[1]  # type: ignore[assignment]
    return {"refined": refinement(case, kind)(case.tensors["image"], case.tensors["mask"])}
