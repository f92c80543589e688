"""Example pictures of an evaluation: a few images with what was predicted for them, for people to look at.

They lie in `examples/` among the artifact's files: small JPEGs and PNGs and an `index.json`. Which images are
taken depends on the split's ids alone, so evaluations of one split show the same images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from harness.data.dataset import Dataset
from harness.data.palette import IGNORE
from harness.files import atomic_file, write_json
from harness.metrics.confusion import confusion_matrix, segmentation_metrics

FOLDER = "examples"
COUNT = 6
LONG_SIDE = 320  # pixels: a row of six pictures on a desktop, and little to store
_JPEG = {"format": "JPEG", "quality": 82}

Picture = Literal["image", "truth", "cam", "prediction", "errors"]

# The labels of an error map. Okabe and Ito's colours, which are told apart with any kind of colour vision.
RIGHT_BACKGROUND, RIGHT_OBJECT, MISSED, FALSE_ALARM, WRONG_CLASS, NOT_COUNTED = range(6)
ERROR_COLOURS = ("#ecebe6", "#b4b7bd", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")

# Matplotlib's "inferno" at nine places: dark is nothing, and brightness grows evenly with the score.
_HEAT = np.array(
    [
        [0, 0, 4],
        [31, 12, 72],
        [85, 15, 109],
        [136, 34, 106],
        [186, 54, 85],
        [227, 89, 51],
        [249, 140, 10],
        [249, 201, 50],
        [252, 255, 164],
    ],
    dtype=np.float64,
)


class Example(BaseModel):
    """One image of `index.json`; pictures are names of files beside it."""

    id: str
    classes: list[str] = Field(description="what the ground truth shows, background left out")
    mean_iou: float | None = Field(
        description="of this image alone, over the classes in truth or prediction; null where none counts"
    )
    pictures: dict[Picture, str]


class ExampleIndex(BaseModel):
    """`examples/index.json` of an artifact of metrics."""

    split: str
    threshold: float | None = Field(None, description="that CAMs were cut at; null for masks and logits")
    examples: list[Example]


@dataclass(frozen=True)
class Prediction:
    """What was predicted for an image of H x W.

    Attributes:
        mask: (H, W) labels.
        cam: (H, W) float32 in [0, 1], the maximum over the classes; None where the scores are no CAMs.
    """

    mask: NDArray[np.integer]
    cam: NDArray[np.float32] | None = None


def pick(ids: Sequence[str], count: int = COUNT) -> list[str]:
    """Ids evenly spaced over a split, in its order; all of them where there are no more than `count`."""
    taken = min(count, len(ids))
    return [ids[(2 * place + 1) * len(ids) // (2 * taken)] for place in range(taken)]


def cam_prediction(keys: NDArray[np.integer], high_res: NDArray[np.float32], threshold: float) -> Prediction:
    """Cut the CAMs of an image at a background score (docs/protocol.md, "Thresholds of seeds").

    Args:
        keys: (K,) class indices without background.
        high_res: (K, H, W) CAMs.
        threshold: pixels whose best score is at most this are background.
    """
    if not len(keys):
        empty = np.zeros(high_res.shape[1:], np.float32)
        return Prediction(empty.astype(np.uint8), empty)
    best = high_res.max(axis=0)
    labels = (keys + 1).astype(np.uint8)[high_res.argmax(axis=0)]
    return Prediction(np.where(best > np.float32(threshold), labels, np.uint8(0)), best)


def write_examples(
    files: Path,
    dataset: Dataset,
    split: str,
    ids: Sequence[str],
    predict: Callable[[str], Prediction],
    threshold: float | None = None,
) -> None:
    """Write `examples/` for a few of the ids. The same predictions give the same bytes.

    An image that is not there, as in a copy of a dataset that has only its labels, is left out of its row.

    Args:
        files: folder of the artifact's files.
        split: as the evaluation names it, for the ground truth.
        ids: all images of the evaluation.
        predict: what was predicted for an image; called for the picked ones only.
        threshold: that `predict` cut CAMs at.

    Raises:
        InputError: an image or a ground truth cannot be read.
    """
    folder = files / FOLDER
    folder.mkdir(exist_ok=True)
    examples = [
        _write_example(folder, place, dataset, split, image_id, predict(image_id))
        for place, image_id in enumerate(pick(ids))
    ]
    index = ExampleIndex(split=split, threshold=threshold, examples=examples)
    write_json(folder / "index.json", index.model_dump(mode="json"))


def _write_example(
    folder: Path, place: int, dataset: Dataset, split: str, image_id: str, prediction: Prediction
) -> Example:
    truth, mask = dataset.read_mask(image_id, split), prediction.mask.astype(np.uint8)
    pictures: dict[Picture, Image.Image] = {}
    if dataset.image_path(image_id).is_file():
        pictures["image"] = Image.fromarray(dataset.read_image(image_id))
    if prediction.cam is not None:
        pictures["cam"] = Image.fromarray(heat_colours(prediction.cam))
    pictures["truth"] = _labels(truth, dataset.palette)
    pictures["prediction"] = _labels(mask, dataset.palette)
    pictures["errors"] = _labels(error_map(truth, mask), _error_palette())
    mean_iou = segmentation_metrics(confusion_matrix(truth, mask, len(dataset.classes))).mean_iou
    # Ids may hold anything that a file system allows; a number is a safe name on any page.
    names = {name: f"{place}_{name}{_suffix(picture)}" for name, picture in pictures.items()}
    for name, picture in pictures.items():
        _save(folder / names[name], picture)
    return Example(
        id=image_id,
        classes=[dataset.classes[label] for label in np.unique(truth) if label not in (0, IGNORE)],
        mean_iou=None if math.isnan(mean_iou) else mean_iou,
        pictures=names,
    )


def error_map(truth: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is wrong where: (H, W) labels of `ERROR_COLOURS`. Undecided pixels count as background."""
    decided = np.where(mask == IGNORE, 0, mask)
    result = np.full(truth.shape, WRONG_CLASS, np.uint8)
    result[decided == truth] = RIGHT_OBJECT
    result[(decided == 0) & (truth == 0)] = RIGHT_BACKGROUND
    result[(decided == 0) & (truth != 0)] = MISSED
    result[(decided != 0) & (truth == 0)] = FALSE_ALARM
    result[truth == IGNORE] = NOT_COUNTED
    return result


def heat_colours(cam: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours of scores in [0, 1]: (H, W) to (H, W, 3) uint8 RGB."""
    places = np.linspace(0, 1, len(_HEAT))
    table = np.stack([np.interp(np.linspace(0, 1, 256), places, _HEAT[:, c]) for c in range(3)], axis=1)
    return table.round().astype(np.uint8)[(cam.clip(0, 1) * 255).round().astype(np.uint8)]


def _error_palette() -> NDArray[np.uint8]:
    palette = np.zeros((256, 3), np.uint8)
    for label, colour in enumerate(ERROR_COLOURS):
        palette[label] = list(bytes.fromhex(colour[1:]))
    return palette


def _labels(mask: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture


def _suffix(picture: Image.Image) -> str:
    return ".png" if picture.mode == "P" else ".jpg"


def _save(path: Path, picture: Image.Image) -> None:
    scale = min(1.0, LONG_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Labels must not be mixed; photographs would show aliasing otherwise.
    resampling = Image.Resampling.NEAREST if picture.mode == "P" else Image.Resampling.LANCZOS
    small = picture if scale == 1 else picture.resize(size, resampling)
    with atomic_file(path, durable=False) as file:
        small.save(file, **({"format": "PNG"} if picture.mode == "P" else _JPEG))
