"""Saliency maps for `shapes`: a stand-in for those that methods such as EPS take from another network.

They are drawn from the picture's objects and then spoiled as the maps of a network are, so that they are not
the ground truth in disguise: they know no classes, miss a class of objects in one case of seven, find
something where nothing is in every fourth picture, are out of place by up to three pixels, and soft. Like the
pictures they are integer arithmetic, the same on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.cache import data_cache
from harness.data.fingerprint import OnProgress
from harness.data.shapes import ShapesSpec, picture_index
from harness.data.shapes_scene import Draws, Scene, draw_scene
from harness.files import atomic_file
from harness.processes import map_unordered

VERSION = 1  # of the maps: raise it with every change to what is drawn

_STREAM = 1 << 40  # added to the seed, for draws other than the picture's
_MISSED, _INVENTED = 15, 25  # percent of classes, and of pictures
_SHIFT = 3  # pixels
_BLUR = 2  # pixels on each side of the mean, which is taken twice

_worker: dict[str, Any] = {}


def make_saliency(
    spec: ShapesSpec,
    ids: Sequence[str],
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: OnProgress | None = None,
) -> Path:
    """Make the maps of some pictures that are not there yet, and return their folder.

    Args:
        spec: of the dataset; only its seed matters.
        ids: the pictures.
        cache: folder of generated data; default `data_cache()`.
        workers: processes; default one per core.
        progress: told (done, total) maps.
    """
    folder = (cache or data_cache()) / f"shapes-saliency-v{spec.version}.{VERSION}-seed{spec.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    there = {entry.name for entry in os.scandir(folder)}
    todo = [image_id for image_id in ids if f"{image_id}.png" not in there]
    count = min(workers or len(os.sched_getaffinity(0)), len(todo))
    for done, _ in enumerate(map_unordered(_write, todo, count, _begin, (folder, spec.seed)), start=1):
        if progress:
            progress(done, len(todo))
    return folder


def _begin(folder: Path, seed: int) -> None:
    _worker.update(folder=folder, seed=seed)


def _write(image_id: str) -> None:
    saliency = draw_saliency(_worker["seed"], picture_index(image_id))
    with atomic_file(_worker["folder"] / f"{image_id}.png", durable=False) as file:
        Image.fromarray(saliency).save(file, format="PNG")


def draw_saliency(seed: int, index: int) -> NDArray[np.uint8]:
    """Return the saliency map of picture `index` of the dataset with this seed, (H, W) uint8."""
    scene = draw_scene(seed, index)
    draws = Draws(_STREAM + seed, index)
    values = draws.noise(*scene.mask.shape) // 8
    for label in sorted({found.label for found in scene.objects}):
        missed, strength = draws.chance(_MISSED), draws.between(160, 255)
        shift = draws.between(-_SHIFT, _SHIFT), draws.between(-_SHIFT, _SHIFT)
        if not missed:
            values[_moved(scene.mask == label + 1, *shift)] = strength
    if draws.chance(_INVENTED):
        values[_blob(draws, scene)] = draws.between(120, 220)
    for _ in range(2):
        values = _mean(_mean(values, 0), 1)
    return values.astype(np.uint8)


def _moved(inside: NDArray[np.bool_], down: int, right: int) -> NDArray[np.bool_]:
    """Return the region shifted by some pixels; the border repeats what is at the edge."""
    height, width = inside.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return np.asarray(inside[rows][:, columns])


def _blob(draws: Draws, scene: Scene) -> NDArray[np.bool_]:
    """Return an ellipse anywhere in the picture."""
    height, width = scene.mask.shape
    a, b = draws.between(8, 24), draws.between(8, 24)
    y = np.arange(height, dtype=np.int64)[:, None] - draws.below(height)
    x = np.arange(width, dtype=np.int64)[None] - draws.below(width)
    return np.asarray((y * b) ** 2 + (x * a) ** 2 <= (a * b) ** 2)


def _mean(values: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Return the mean over the neighbours along an axis, rounded down."""
    size = 2 * _BLUR + 1
    padded = np.pad(values, [(_BLUR, _BLUR) if a == axis else (0, 0) for a in range(2)], mode="edge")
    total = sum(np.take(padded, range(s, s + values.shape[axis]), axis) for s in range(size))
    return np.asarray(total // size, np.int64)
