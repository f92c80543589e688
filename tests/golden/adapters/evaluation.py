"""Golden cases of the evaluators of HSC, MCC, RTC and SemPLeS.

They differ in what a mean leaves out. HSC and RTC count a class that occurs nowhere with IoU 0, MCC prints
the mean over the classes of the ground truth and one that is undefined if a class occurs nowhere, SemPLeS
leaves out undefined classes, as we do. On the official splits every class occurs, and all of them agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.nn import functional as F

from harness.metrics.classification import average_precision_per_image, f1_per_image
from harness.metrics.confusion import VOID, ClassCounts, confusion_matrix, mean_over_classes
from harness.metrics.sweep import best_threshold
from harness.ops.crf import CRFParameters, crf_from_labels
from harness.stages.examples import cam_prediction
from tests.golden.adapters.metrics import CamImage, swept
from tests.golden.case import Case, adapter

SIXTY = [index / 100 for index in range(60)]


def absent_is_zero(counts: ClassCounts) -> tuple[np.ndarray, np.ndarray]:
    """IoU per class and mIoU in percent, a class that does not occur counting 0: (T, C) and (T,)."""
    iou = 100 * np.nan_to_num(counts.iou, nan=0.0)
    return iou, iou.mean(-1)


def of_labels(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> ClassCounts:
    return ClassCounts.of(confusion_matrix(truth, prediction, num_classes))


def defined_percent(values: np.ndarray) -> float:
    return float(100 * mean_over_classes(values))


def _hsc_images(case: Case) -> list[CamImage]:
    classes = np.array(case.config["classes"])
    images = []
    for image in range(case.config["images"]):
        labels = np.append(classes, VOID)[case.arrays[f"gt{image}"]]
        truth = labels.repeat(case.config["repeat"], 0).repeat(case.config["repeat"], 1)
        half = np.float32(0.5)
        maps = half * (truth == classes[1:, None, None]) + half * case.arrays[f"noise{image}"]
        images.append((classes[1:] - 1, maps.astype(np.float32), truth))
    return images


@adapter("eval.voc")
def hsc_voc(case: Case) -> dict[str, Any]:
    images = _hsc_images(case)
    iou, mean_iou = absent_is_zero(swept(images, 21, SIXTY))
    rows = {t: np.append(iou[SIXTY.index(t)], mean_iou[SIXTY.index(t)]) for t in case.config["thresholds"]}
    # The PNGs that the released inference writes, read back.
    matrices = [
        confusion_matrix(truth, cam_prediction(keys, maps, 0.22).mask, 21) for keys, maps, truth in images
    ]
    png, png_mean = absent_is_zero(ClassCounts.of(np.sum(matrices, axis=0)))
    return {
        **{f"iou_percent_t{threshold:.2f}": row for threshold, row in rows.items()},
        "iou_percent_png": np.append(png, png_mean),
        "curve_miou_percent": mean_iou,
    }


@adapter("eval.scores", "eval.scores_missing_class")
def mcc_scores(case: Case) -> dict[str, Any]:
    classes, prediction = case.config["num_classes"], case.arrays["pred"]
    truth = np.where(case.arrays["label"] == classes, VOID, case.arrays["label"])
    counts = of_labels(truth, prediction, classes)
    labelled = np.where(counts.truth > 0, counts.iou, np.nan)
    decided = truth.copy()
    decided[:, :2] = VOID  # where the prediction is undecided, which their score of pseudo labels leaves out
    pseudo = of_labels(decided, prediction, classes)
    return {
        "pAcc": counts.pixel_accuracy,
        "mAcc": mean_over_classes(counts.recall),
        "miou_valid": mean_over_classes(labelled),
        "miou_table": counts.iou.mean(),
        "iou": counts.iou,
        "pseudo_miou": mean_over_classes(np.where(pseudo.truth > 0, pseudo.iou, np.nan)),
    }


@adapter("eval.cam_sweep")
def mcc_cam_sweep(case: Case) -> dict[str, Any]:
    cams = F.interpolate(case.tensors["cam_low"], case.config["size"], mode="bilinear").numpy()
    truth = np.where(case.arrays["label"] == 21, VOID, case.arrays["label"])
    present = [np.flatnonzero(labels) for labels in case.arrays["cls_label"]]
    images = [(keys, maps[keys], mask) for keys, maps, mask in zip(present, cams, truth)]
    counts = swept(images, 21, case.config["thresholds"])
    return {"miou": mean_over_classes(np.where(counts.truth > 0, counts.iou, np.nan))}


@adapter("eval.f1")
def mcc_f1(case: Case) -> dict[str, Any]:
    return {"f1": f1_per_image(case.arrays["label"] > 0, case.arrays["logit"] > 0)}


@adapter("eval.curve_npy")
def rtc_curve(case: Case) -> dict[str, Any]:
    size = case.arrays["gt"].shape[1:]
    cams = F.interpolate(case.tensors["cams"], size, mode="bilinear", align_corners=True).numpy()
    truth = np.where(case.arrays["gt"] == case.config["code_for_255"], VOID, case.arrays["gt"])
    images = [
        (np.array(saved), maps[saved], mask)
        for saved, maps, mask in zip(case.config["saved_classes"], cams, truth)
    ]
    iou, mean_iou = absent_is_zero(swept(images, 21, case.config["thresholds"]))
    return {"miou_percent": mean_iou, "iou_percent_per_class": iou}


@adapter("eval.png")
def rtc_png(case: Case) -> dict[str, Any]:
    truth = np.where(case.arrays["gt"] == case.config["code_for_255"], VOID, case.arrays["gt"])
    iou, mean_iou = absent_is_zero(of_labels(truth, case.arrays["pred"], 21))
    return {"miou_percent": mean_iou, "iou_percent_per_class": iou}


def _semples_images(case: Case) -> list[CamImage]:
    images = []
    for image, classes in enumerate(case.config["classes"]):
        keys = np.array(classes)
        labels = np.array([0, *(keys + 1), VOID])[case.arrays[f"gt_{image}"]]
        images.append((keys, case.arrays[f"cam_{image}"], labels))
    return images


@adapter("evaluation.sweep.voc", "evaluation.sweep.coco")
def semples_sweep(case: Case) -> dict[str, Any]:
    config = case.config
    percent = sorted({*config["thresholds"], *range(config["start"], config["end"])})
    counts = swept(_semples_images(case), config["num_classes"], [value / 100 for value in percent])
    out: dict[str, Any] = {}
    for threshold in config["thresholds"]:
        at = counts[percent.index(threshold)]
        out[f"t{threshold}.iou_per_class"] = np.nan_to_num(100 * at.iou, nan=-1)
        out[f"t{threshold}.mIoU"] = defined_percent(at.iou)
        out[f"t{threshold}.Prediction"] = defined_percent(at.precision)
        out[f"t{threshold}.Recall"] = defined_percent(at.recall)
        out[f"t{threshold}.FP"] = defined_percent(at.fp_rate)
        out[f"t{threshold}.FN"] = defined_percent(at.fn_rate)
    swept_values = range(config["start"], config["end"])
    curve = [defined_percent(counts[percent.index(value)].iou) for value in swept_values]
    best = best_threshold(np.array(curve), stop_at_drop=True)
    return out | {"early_stop.best_mIoU": curve[best], "early_stop.best_threshold": swept_values[best] / 100}


CRFS = {
    "cam": CRFParameters(10, 4, 3, 83, 5, 3),
    "coco": CRFParameters(10, 3, 3, 50, 5, 10),
}


@adapter("evaluation.masks.no_crf", "evaluation.masks.crf_cam", "evaluation.masks.crf_coco")
def semples_masks(case: Case) -> dict[str, Any]:
    config = case.config
    ((keys, maps, truth),) = _semples_images(case)
    mask = cam_prediction(keys, maps, config["threshold"]).mask
    if config["crf"]:
        image = case.arrays["image_0"].repeat(config["repeat"], 0).repeat(config["repeat"], 1)
        labels = np.append(0, keys + 1)
        places = np.searchsorted(labels, mask)
        refined, _ = crf_from_labels(
            image.astype(np.uint8), places, len(labels), 0.7, CRFS[config["cam_type"]]
        )
        mask = labels[refined].astype(np.uint8)
    counts = of_labels(truth, mask, config["num_classes"])
    return {"mIoU": defined_percent(counts.iou), "mask_im0": mask}


@adapter("metric.average_precision")
def semples_average_precision(case: Case) -> dict[str, Any]:
    found = average_precision_per_image(case.arrays["labels"] > 0, case.arrays["scores"])
    return {"ap": found, "mean": found.mean()}
