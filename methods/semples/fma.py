"""Pseudo masks from CAMs and object masks, as FMA-WSSS makes them (spec `semples`, section 9.2).

Yang, Gong, "Foundation Model Assisted Weakly Supervised Semantic Segmentation", WACV 2024.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from harness.ops.crf_refiner import channel_to_label

EPS = 1e-7

Floats = npt.NDArray[np.floating]


class ObjectMasks(NamedTuple):
    """Objects of an image, of no class, as SAM finds them.

    Attributes:
        masks: (S, H, W) bool.
        levels: (S,) integers: 0 part of a part, 1 part, 2 whole.
    """

    masks: npt.NDArray[np.bool_]
    levels: npt.NDArray[np.integer]


class LabelledMasks(NamedTuple):
    """What the CAMs say of each object.

    Attributes:
        channels: (S,) int64, 0 is background, the classes follow.
        confidence: (S,) score of that channel.
    """

    channels: npt.NDArray[np.int64]
    confidence: Floats


def with_power_background(scores: Floats, power: float) -> Floats:
    """(P, ...) class scores in [0, 1] behind a background of (1 - best class)^power: (P + 1, ...)."""
    return np.concatenate([(1 - scores.max(0, keepdims=True)) ** power, scores])


def stretched(scores: Floats) -> Floats:
    """(P, n...) scores cut at 0, then each class by its minimum and maximum over all others axes."""
    scores = scores.clip(0)
    axes = tuple(range(1, scores.ndim))
    low, high = scores.min(axes, keepdims=True), scores.max(axes, keepdims=True)
    return (scores - low) / (high - low + EPS)


def label_masks(cam: Floats, objects: ObjectMasks, power: float) -> LabelledMasks:
    """Give each object the class, or background, of the highest score.

    Args:
        cam: (P, H, W) of the classes that are there.
        objects: at least one.
        power: of the background; the smaller, the more of it.
    """
    pixels = objects.masks.reshape(len(objects.masks), -1).astype(np.float64)
    means = cam.clip(0).reshape(len(cam), -1) @ pixels.T / np.maximum(pixels.sum(1), 1)
    scores = with_power_background(stretched(means), power)
    return LabelledMasks(scores.argmax(0), scores.max(0))


def paint(objects: ObjectMasks, labelled: LabelledMasks) -> npt.NDArray[np.int64]:
    """(H, W) channels: whole objects over parts, sure ones over doubtful ones, on background."""
    seed = np.zeros(objects.masks.shape[1:], dtype=np.int64)
    for index in np.lexsort((labelled.confidence, objects.levels)):
        seed[objects.masks[index]] = labelled.channels[index]
    return seed


def mask_seed(
    cam: Floats, keys: npt.NDArray[np.integer], objects: ObjectMasks, power: float
) -> npt.NDArray[np.uint8]:
    """(H, W) labels, 0 background and class + 1, from CAMs and objects.

    Args:
        cam: (P, h, w); resized to the objects' size where it has another.
        keys: (P,) classes of the channels.
        objects: S may be 0.
        power: see `label_masks`.
    """
    size = objects.masks.shape[1:]
    if not len(keys) or not len(objects.masks):
        return np.zeros(size, dtype=np.uint8)
    if cam.shape[1:] != size:
        maps = torch.from_numpy(np.ascontiguousarray(cam, dtype=np.float32))[None]
        cam = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].numpy()
    return channel_to_label(paint(objects, label_masks(cam, objects, power)), keys)
