"""Golden cases of weakly supervised localisation, which come with RTC's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F

from harness.metrics.localization import (
    SIDE,
    best_iou,
    box_iou,
    boxes_of_map,
    normalise_map,
    resize_boxes,
)
from tests.golden.case import Case, adapter


def enlarged(case: Case, name: str, size: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) or (h, w) at (H, W), as (N, H, W), bilinear."""
    maps = case.tensors[name].reshape(-1, 1, *case.tensors[name].shape[-2:])
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)[:, 0].numpy()


@adapter("wsol.normalize_scoremap")
def normalize_scoremap(case: Case) -> dict[str, Any]:
    (constant,) = (output["shape"] for name, output in case.outputs.items() if name == "constant_map")
    return {
        "normed": normalise_map(case.arrays["map"]),
        "constant_map": normalise_map(np.full(constant, 0.3)),
    }


@adapter("wsol.boxes", "wsol.boxes_multi")
def boxes(case: Case) -> dict[str, Any]:
    scores = normalise_map(enlarged(case, "map", tuple(case.config["upsampled_to"]))[0])
    found = boxes_of_map(scores, case.config["thresholds"], multiple=case.config["multi_contour"])
    return {
        "scoremap": scores,
        "boxes_per_threshold": [len(at) for at in found],
        "boxes": np.concatenate(found),
    }


def corners(x0y0: np.ndarray, wh: np.ndarray) -> np.ndarray:
    return np.concatenate([x0y0, x0y0 + wh], axis=-1)


@adapter("wsol.iou")
def iou(case: Case) -> dict[str, Any]:
    a, b = (corners(case.arrays[f"{name}_x0y0"], case.arrays[f"{name}_wh"]) for name in "ab")
    return {"iou": box_iou(a, b)}


@adapter("wsol.resize_bbox")
def resize_bbox(case: Case) -> dict[str, Any]:
    x0y0, wh = np.split(case.arrays["box_x0y0wh"], 2, axis=1)
    given = zip(corners(x0y0, wh), case.arrays["image_wh"], strict=True)
    return {"box": np.stack([resize_boxes(box[None], (h, w))[0] for box, (w, h) in given])}


@adapter("wsol.maxboxacc", "wsol.maxboxacc_v2")
def maxboxacc(case: Case) -> dict[str, Any]:
    thresholds = np.arange(0, 1, case.config["interval"]).tolist()
    maps = enlarged(case, "maps", (SIDE, SIDE))
    truth = corners(case.arrays["gt_x0y0"], case.arrays["gt_wh"])
    multiple = case.name.endswith("v2")
    ious = np.stack(
        [
            best_iou(normalise_map(scores), resize_boxes(boxes, (h, w)), thresholds, multiple=multiple)
            for scores, boxes, (w, h) in zip(maps, truth, case.arrays["image_wh"], strict=True)
        ]
    )
    correct = np.stack([(ious >= level / 100).sum(0) for level in case.config["iou_thresholds"]])
    best = 100 * correct.max(1) / len(maps)
    return {
        "correct_per_threshold": correct.astype(float),
        "best_accuracy_percent_per_iou": best,
        "mean_over_iou": best.mean(),
    }
