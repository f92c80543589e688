"""Golden cases of the evaluation: threshold sweeps and segmentation metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.metrics.confusion import (
    VOID,
    ClassCounts,
    confusion_matrix,
    mean_over_classes,
    segmentation_metrics,
)
from harness.metrics.split_counts import BatchCounts, SplitCounts
from harness.metrics.sweep import Thresholds, count_levels, level_map
from tests.golden.case import Case, adapter

CamImage = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Class indices (K,), maps (K, H, W) float32, ground truth (H, W) with 255 as void."""


def swept(images: Iterable[CamImage], num_classes: int, thresholds: Sequence[float]) -> ClassCounts:
    """Counts of CAMs at every threshold, which must ascend: (T, C)."""
    grid = Thresholds(thresholds)
    counts = [
        count_levels(level_map(keys, maps, grid, num_classes), truth.astype(np.uint8), num_classes)
        for keys, maps, truth in images
    ]
    split = SplitCounts(len(counts), num_classes, len(grid))
    split.add(BatchCounts.of(range(len(counts)), counts))
    return split.total()


def _three_images(case: Case) -> Iterable[CamImage]:
    for image in range(3):
        keys = case.arrays[f"keys{image}"]
        labels = np.array([0, *(keys + 1), VOID])
        yield keys, case.arrays[f"cam{image}"], labels[case.arrays[f"pick{image}"]]


@adapter("eval.threshold_sweep")
def threshold_sweep(case: Case) -> dict[str, Any]:
    thresholds = case.config["thresholds"]
    counts = swept(_three_images(case), 21, thresholds)
    return {
        "mean_iou": mean_over_classes(counts.iou),
        "pixel_accuracy": counts.pixel_accuracy,
        "mean_accuracy": mean_over_classes(counts.recall),
        "class_iou_at_0.14": np.nan_to_num(counts.iou[thresholds.index(0.14)], nan=-1),
    }


@adapter("cam.eval")
def cam_eval(case: Case) -> dict[str, Any]:
    largest = max(int(case.arrays[f"keys{image}"].max()) for image in range(3))
    iou = swept(_three_images(case), largest + 2, case.config["thresholds"]).iou
    return {"mean_iou": mean_over_classes(iou), "class_iou": np.nan_to_num(iou, nan=-1)}


@adapter("irn.eval_sem_seg")
def eval_sem_seg(case: Case) -> dict[str, Any]:
    ground_truth = case.arrays["gt"]
    noise = np.where(case.arrays["pred"] == 21, VOID, case.arrays["pred"])
    prediction = np.where((case.arrays["keep"] > 0) & (ground_truth >= 0), ground_truth, noise)
    metrics = segmentation_metrics(confusion_matrix(ground_truth, prediction, 21))
    rates = metrics.false_rates
    return {
        "mean_iou": metrics.mean_iou,
        "class_iou": np.nan_to_num(np.array(metrics.iou), nan=-1),
        "background_fp_fn": np.array([rates.background_fp, rates.background_fn]),
        "foreground_fp_fn": np.array([rates.foreground_fp, rates.foreground_fn]),
    }
