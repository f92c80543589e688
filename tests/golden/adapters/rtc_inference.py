"""Golden cases of RTC's prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from harness.ops.crf import crf_from_labels
from methods.rtc.inference import LABEL_CRF, fused_scores, gated_scores, predicted
from tests.golden.case import Case, adapter


class Recorded(torch.nn.Module):
    """Stands for the network: its maps of every input, in the order of the scales."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case, self.at = case, 0

    def segment(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        names = range(self.at, self.at + len(images))
        self.at += len(images)
        cam = torch.cat([self.case.tensors[f"cam_{i}"] for i in names])
        assert cam.shape[-2:] == images.shape[-2:]
        return cam.mean((2, 3)).sigmoid(), torch.cat([self.case.tensors[f"seg_mask_{i}"] for i in names])


@adapter("rtc.infer.fuse")
def fuse(case: Case) -> dict[str, Any]:
    size, sizes = tuple(case.config["image_size"]), case.config["sizes"]
    stacks = [np.zeros((2, 3, *pair), np.float32) for pair in sizes[::2]]
    fused = fused_scores(Recorded(case), stacks, size, "cpu")
    gates, logits = Recorded(case).segment(torch.from_numpy(stacks[0]))
    first, second = gated_scores(gates, logits, tuple(sizes[0]), size)
    return {
        "first_map": first,
        "second_map_after_flip_back": second.flip(-1),
        "fused": fused,
        "pred": predicted(fused, case.config["bg_score"]),
    }


@adapter("rtc.infer.crf_from_labels")
def crf(case: Case) -> dict[str, Any]:
    size = case.config["upsampled_to"]
    image, fused = (
        F.interpolate(case.tensors[name], size=size, mode="bilinear", align_corners=True)
        for name in ("image", "fused")
    )
    pixels = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    label = predicted(fused[0], case.config["bg_score"]).numpy()
    after, marginals = crf_from_labels(pixels, label, fused.shape[1] + 1, 0.7, LABEL_CRF)
    return {"image_uint8": pixels, "label_before": label, "q": marginals, "label_after": after}
