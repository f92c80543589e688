"""Golden cases of the evaluation: threshold sweeps and segmentation metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.metrics.confusion import (
    VOID,
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_over_classes,
    pixel_accuracy,
    segmentation_metrics,
)
from harness.metrics.sweep import ThresholdSweep
from tests.golden.case import Case, adapter


def _swept(case: Case, num_classes: int, void: int) -> np.ndarray:
    """Confusion matrices of a case's three CAM stacks at its thresholds: (T, C, C)."""
    thresholds = case.config["thresholds"]
    sweep = ThresholdSweep(num_classes, thresholds, fixed=thresholds[0])
    for image in range(3):
        keys = case.arrays[f"keys{image}"]
        ground_truth = np.array([0, *(keys + 1), void])[case.arrays[f"pick{image}"]]
        sweep.add(keys, case.arrays[f"cam{image}"], ground_truth)
    return sweep.matrices(thresholds)


@adapter("eval.threshold_sweep")
def threshold_sweep(case: Case) -> dict[str, Any]:
    matrices = _swept(case, num_classes=21, void=VOID)
    at = case.config["thresholds"].index(0.14)
    return {
        "mean_iou": mean_over_classes(class_iou(matrices)),
        "pixel_accuracy": pixel_accuracy(matrices),
        "mean_accuracy": mean_over_classes(class_accuracy(matrices)),
        "class_iou_at_0.14": np.nan_to_num(class_iou(matrices)[at], nan=-1),
    }


@adapter("cam.eval")
def cam_eval(case: Case) -> dict[str, Any]:
    largest = max(int(case.arrays[f"keys{image}"].max()) for image in range(3))
    iou = class_iou(_swept(case, num_classes=largest + 2, void=-1))
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
