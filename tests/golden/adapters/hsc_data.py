"""Golden cases of HSC's data loading: both stages' augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.data.geometry import Offsets, ResizeCut
from harness.data.pixels import normalise, resize
from harness.data.transforms import long_side_crop
from methods.modules.hsv_scale_crop import hsv_scale_crop, shift_hsv
from tests.golden.adapters.hsc_inference import repeated, repeated_image
from tests.golden.case import Case, adapter


def drawn(case: Case, name: str) -> Any:
    """Random numbers that the reference drew: inputs of ours, which are handed back as they are."""
    return case.outputs[name]["value"]


@adapter("data.resize_long", method="hsc")
def resize_long(case: Case) -> dict[str, Any]:
    image, nowhere = repeated_image(case), Offsets(0, 0)
    result = {}
    for target in case.config["target_long"]:
        geometry = long_side_crop(image.shape, long_side=target, flip=False, offsets=nowhere, crop=target)
        result[f"out_{target}"] = resize(image, geometry.size, geometry.resample)
    return result


@adapter("data.normalize", method="hsc")
def normalize(case: Case) -> dict[str, Any]:
    return {"y": normalise(case.arrays["img"].astype(np.uint8)).transpose(1, 2, 0)}


def cut(case: Case, name: str, offsets: list[int]) -> np.ndarray:
    """A float array (H, W, C) through our crop, which works on uint8: by the positions of its pixels."""
    values = case.arrays[name]
    size, crop = values.shape[:2], case.config["crop_size"]
    geometry = ResizeCut(size, 3, False, Offsets(*offsets), crop)
    (rows, columns), target = geometry._windows()
    canvas = np.zeros((crop, crop, *values.shape[2:]), values.dtype)
    canvas[target] = values[rows, columns]
    return canvas


@adapter("data.crop_with_saliency", method="hsc")
def crop_with_saliency(case: Case) -> dict[str, Any]:
    offsets = drawn(case, "drawn_left_then_top")
    return {
        "img": cut(case, "img", offsets),
        "mask": cut(case, "mask", offsets),
        "drawn_left_then_top": offsets,
    }


@adapter("seg.random_hsv", method="hsc")
def random_hsv(case: Case) -> dict[str, Any]:
    shifts = drawn(case, "drawn_h_s_v")
    return {"image": shift_hsv(repeated_image(case), tuple(shifts)), "drawn_h_s_v": shifts}


@adapter("seg.random_scale", method="hsc")
def random_scale(case: Case) -> dict[str, Any]:
    scale = drawn(case, "drawn_scale")
    image = repeated_image(case)
    label = repeated(case.arrays["lab"].astype(np.uint8), case.config["repeat"])
    geometry = hsv_scale_crop(
        image.shape[:2], shifts=(0, 0, 0), flip=False, scale=scale, offsets=Offsets(0, 0), crop=1
    )
    return {
        "image": geometry._resized(image, geometry.resample),
        "label": geometry._resized(label, 0),
        "drawn_scale": scale,
    }


@adapter("seg.random_crop", method="hsc")
def random_crop(case: Case) -> dict[str, Any]:
    offsets = drawn(case, "drawn_left_then_top")
    label = case.arrays["lab"].astype(np.uint8)
    geometry = ResizeCut(label.shape, 3, False, Offsets(*offsets), case.config["crop_size"])
    return {
        "image": cut(case, "img", offsets),
        "label": geometry.label(label),
        "drawn_left_then_top": offsets,
    }
