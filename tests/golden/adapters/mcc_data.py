"""Golden cases of MCC's data loading: pixels, the training crop, changes of colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.data.colours import ColourJitter
from harness.data.geometry import CutResize, Offsets
from harness.data.pixels import normalise, resize
from methods.modules.refined_labels import stored_image
from methods.toco.views import blur, grey, rescale_crop, solarise, stepwise
from tests.golden.case import Case, adapter


def bytes_of(case: Case) -> np.ndarray:
    return case.arrays["image"].astype(np.uint8)


@adapter("data.normalize", method="mcc")
def normalize(case: Case) -> dict[str, Any]:
    images = bytes_of(case)
    inputs = torch.from_numpy(np.stack([stepwise(image) for image in images]))
    assert torch.equal(stepwise.batch(torch.from_numpy(images)), inputs)
    stored = stored_image(inputs)
    given = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    found = [int((stored == given - 1).sum()), int((stored == given).sum()), stored.numel()]
    return {
        "normalized_train": inputs,
        "normalized_eval": np.stack([normalise(image) for image in images]),
        "denorm01": stored / 255,
        "pixels_off_by_one": found,
    }


@adapter("data.rescale_crop", method="mcc")
def crop(case: Case) -> dict[str, Any]:
    config, image = case.config, bytes_of(case)
    starts, side = config["starts"], config["crop_size"]
    scaled = [int(config["ratio"] * length) for length in image.shape[:2]]
    # An axis that is longer than the crop is cut, a shorter one placed: our one offset is either of the two.
    vertical, horizontal = (
        start if length > side else pad
        for length, start, pad in zip(scaled, starts, (config["pad_h"], config["pad_w"]), strict=True)
    )
    geometry = rescale_crop(
        image.shape[:2],
        ratio=config["ratio"],
        flip=config["flip"],
        offsets=Offsets(horizontal, vertical),
        crop=side,
    )
    square = geometry.square(image)
    return {
        "scaled": geometry._mirrored(resize(image, geometry.size, geometry.resample)),
        "crop": square.pixels,
        "img_box": [square.rows.start, square.rows.stop, square.columns.start, square.columns.stop],
    }


class Drawn:
    """Stands for a generator whose draws are known; steps come in their order."""

    def __init__(self, *values: float) -> None:
        self._values = list(values)

    def uniform(self, low: float, high: float) -> float:
        return self._values.pop(0)

    def permutation(self, count: int) -> np.ndarray:
        return np.arange(count)


@adapter("data.pil_augment", method="mcc")
def augment(case: Case) -> dict[str, Any]:
    config, image = case.config, bytes_of(case)
    values = [config[name] for name in ("brightness", "contrast", "saturation", "hue")]
    top, left, height, width = config["rrc"]
    box = CutResize(
        slice(top, top + height),
        slice(left, left + width),
        Image.Resampling.BICUBIC,
        False,
        config["rrc_size"],
    )
    return {
        "blur": blur(image, config["blur_radius"]),
        "solarize": solarise(image),
        "jitter_bcsh": ColourJitter().draw(Drawn(*values))(image),
        "gray": grey(image),
        "resized_crop_bicubic": box.square(image).pixels,
    }
