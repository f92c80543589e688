"""Golden cases of MCC and ToCo: labels, regions and key masks made of class maps, and the losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.palette import IGNORE
from harness.ops.pixel_adaptive import PixelAdaptive
from harness.stages.examples import cam_prediction
from methods.mcc.masks import draw_masks, enlarge
from methods.mcc.masks import positives as positive_masks
from methods.modules.refined_labels import Thresholds, refined_labels, resize
from methods.toco import crops
from methods.toco.labels import interest, seed_labels
from methods.toco.losses import affinity_loss, balanced_cross_entropy, pair_labels, token_contrast
from tests.golden.case import Case, adapter


def enlarged(case: Case, name: str) -> Tensor:
    """A coarse input at the case's size."""
    height, width = case.config["size"]
    return resize(case.tensors[name], (height, width))


def thresholds(case: Case) -> Thresholds:
    return Thresholds(case.config["low_thre"], case.config["high_thre"])


def valid_maps(maps: Tensor, labels: Tensor) -> Tensor:
    """Class maps (B, C, H, W) with 0 for absent classes (B, C)."""
    return maps * labels[..., None, None]


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) bool of boxes (B, 4): first and last row, first and last column, ends excluded."""
    content = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for plane, (top, bottom, left, right) in zip(content, boxes.tolist(), strict=True):
        plane[top:bottom, left:right] = True
    return content


def coded(labels: Tensor, code: int) -> Tensor:
    """Labels in which a code stands for 255."""
    return labels.masked_fill(labels == code, IGNORE)


def with_planes(positive: Tensor) -> Tensor:
    """Flags (B, 2 + V) of local views (B, V): the two global views come first."""
    return F.pad(positive, (2, 0), value=True).float()


@adapter("cam.to_label", "cam.to_label_coco_thresholds", method="mcc")
def cam_to_label(case: Case) -> dict[str, Any]:
    labels = case.tensors["cls_label"]
    valid = valid_maps(enlarged(case, "cam_low"), labels)
    size = (valid.shape[-2], valid.shape[-1])
    trained = seed_labels(valid, inside(case.tensors["img_box"], size), thresholds(case))
    evaluated = []
    for maps, present in zip(valid.numpy(), labels.numpy(), strict=True):
        keys = np.flatnonzero(present)
        evaluated.append(cam_prediction(keys, maps[keys], case.config["bkg_thre"]).mask)
    sides = (trained == 0, trained == IGNORE, (trained != 0) & (trained != IGNORE))
    return {
        "valid_cam": valid,
        "train_label": trained,
        "train_label_counts": [int(side.sum()) for side in sides],
        "eval_label": np.stack(evaluated),
    }


@adapter("label.affinity_mask", method="mcc")
def affinity_mask(case: Case) -> dict[str, Any]:
    pairs = pair_labels(coded(case.tensors["label"], case.config["ignore_code"]))
    counts = [int((pairs == value).sum()) for value in (0, 1, IGNORE)]
    return {"aff": pairs, "counts": counts}


@adapter("label.refine", method="mcc")
def label_refine(case: Case) -> dict[str, Any]:
    labels, image = case.tensors["cls_label"], enlarged(case, "image_low")
    found = refined_labels(
        image,
        valid_maps(enlarged(case, "cam_low"), labels),
        labels,
        inside(case.tensors["img_box"], (image.shape[-2], image.shape[-1])),
        thresholds(case),
        PixelAdaptive("par"),
    )
    values = case.outputs["values"]["value"]
    return {"label": found, "values": values, "counts": [int((found == value).sum()) for value in values]}


@adapter("mask.upsample", method="mcc")
def mask_upsample(case: Case) -> dict[str, Any]:
    return {"mask": enlarge(case.tensors["mask"], case.config["scale"])}


@adapter("mask.seeded", method="mcc")
def mask_seeded(case: Case) -> dict[str, Any]:
    config = case.config
    torch.manual_seed(config["torch_seed"])
    grid = (config["h"], config["w"])
    masks = draw_masks(1, 8, grid, scale=config["scale"], rate=config["mask_rate"])[:, 0]
    return {"masks": masks, "visible_tokens": (~masks).sum((1, 2))}


@adapter("mask.flags", method="mcc")
def mask_flags(case: Case) -> dict[str, Any]:
    config, labels = case.config, case.tensors["cls_label"]
    height, width = config["grid"]
    maps = resize(case.tensors["cam_low"], (16 * height, 16 * width)).clamp(0, 1)  # 448 for a grid of 28
    on_grid = F.interpolate(maps, size=config["grid"], mode="bicubic")
    hidden = enlarge(case.tensors["coarse_masks"] > 0, config["scale"])
    hidden.flatten(0, 1)[config["force_all_masked"]] = True
    hidden = hidden.transpose(0, 1)
    region = interest(valid_maps(on_grid, labels), thresholds(case))
    return {
        "flags": with_planes(positive_masks(region, hidden)),
        "attn_masks": hidden,
        "cam_grid": on_grid,
    }


@adapter("toco.crop_negatives", method="mcc")
def crop_negatives(case: Case) -> dict[str, Any]:
    config, side = case.config, case.config["crop_size"]

    def permutation(count: int) -> Tensor:
        return (config["perm_mul"] * torch.arange(count) + config["perm_add"]) % count

    region = interest(valid_maps(enlarged(case, "cam_low"), case.tensors["cls_label"]), thresholds(case))
    views = case.outputs["crops"]["shape"][0]
    corners = crops.crop_corners(region, views, side, permutation)
    return {
        "roi_mask": region,
        "flags": with_planes(crops.positives(crops.cut(region, corners, side))),
        "crops": crops.cut(enlarged(case, "image_low"), corners, side),
    }


@adapter("loss.affinity", "loss.affinity_all_ignored", method="mcc")
def loss_affinity(case: Case) -> dict[str, Any]:
    features = case.tensors["fmap"].requires_grad_()
    loss = affinity_loss(features, pair_labels(coded(case.tensors["label"], case.config["ignore_code"])))
    loss.backward()
    return {"loss": loss, "grad_fmap": features.grad}


@adapter("loss.mcc", "toco.loss.ctc_temp1", method="mcc")
def loss_mcc(case: Case) -> dict[str, Any]:
    common, flags = case.tensors["common"], case.tensors["flags"] > 0
    student = (case.tensors["student"] + common).requires_grad_()
    teacher = case.tensors["teacher"] + common
    loss = token_contrast(
        student.unflatten(0, (-1, len(flags))),
        teacher.unflatten(0, (-1, len(flags))),
        flags,
        temperature=case.config["temp"],
    )
    loss.backward()
    return {"loss": loss, "grad_student": student.grad}


@adapter("loss.cls", method="mcc")
def loss_cls(case: Case) -> dict[str, Any]:
    logits = case.tensors["logits"].requires_grad_()
    loss = F.multilabel_soft_margin_loss(logits, case.tensors["label"].float())
    loss.backward()
    return {"loss": loss, "grad_logits": logits.grad}


@adapter("loss.seg", "loss.seg_no_foreground", method="mcc")
def loss_seg(case: Case) -> dict[str, Any]:
    logits = case.tensors["logits"].requires_grad_()
    labels = coded(case.tensors["label"], case.config["ignore_code"])
    found = balanced_cross_entropy(logits, labels)
    found.loss.backward()
    loss = float(found.loss.detach())
    if found.empty:
        # The release is undefined here; ours is half the mean over the side that has pixels.
        expected = F.cross_entropy(logits.detach(), labels, ignore_index=IGNORE) / 2
        assert math.isclose(loss, float(expected), rel_tol=case.tolerance)
        loss = math.nan
    return {"loss": loss, "grad_logits": logits.grad}
