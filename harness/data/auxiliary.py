"""Auxiliary inputs of a training: gray maps that come with the images, such as saliency, found by name.

A train stage's config lists the names that its model needs, the user says where each lies
(`--aux saliency=DIR`), and a sample carries the map, transformed with its image, under that name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.bad_file import reading
from harness.data.cache import data_cache
from harness.data.dataset import Dataset
from harness.data.fingerprint import FileFacts, OnProgress, bytes_hash, content_hash, whole
from harness.data.image_file import ImageFact
from harness.data.shapes import Shapes
from harness.data.shapes_saliency import make_saliency
from harness.errors import InputError, nearest

SUFFIX = ".png"

# Where published maps are to be had, by name and dataset.
ORIGINS = {
    ("saliency", "voc"): "EPS's authors link the PFAN maps of train_aug from the README of their code "
    "(Google Drive 19AjSmgdMlIZH4FXVZ5zjlUZcoZZCkwrI)",
    ("saliency", "coco"): "EPS's authors link the PFAN maps of train2014 from the README of their code "
    "(Google Drive 1d28NKIXQA6lHDt6iIOD8cyySMQ66GoaS)",
}


class Maps(NamedTuple):
    """A folder of maps, and the hash of those that a run uses."""

    folder: Path
    content: str


class _MapFact(NamedTuple):
    height: int
    width: int
    content: str


def read_map(path: Path) -> NDArray[np.uint8]:
    """Read a gray map: (H, W) uint8. Equal red, green and blue count as gray.

    Raises:
        InputError: the file is missing or unreadable, has colours, or more than 8 bits per value.
    """
    with reading("map", path, remedy="complete the folder"), Image.open(path) as image:
        mode = image.mode
        if mode == "L":
            return np.asarray(image)
        pixels = np.asarray(image.convert("RGB")) if mode in ("1", "P", "RGB") else None
    if pixels is None or (pixels != pixels[..., :1]).any():
        raise InputError(f"the map {path} holds {mode} colours, not gray: replace it by an 8-bit gray PNG")
    return pixels[..., 0]


def map_path(folder: Path, image_id: str) -> Path:
    """Return the file of an image's map."""
    return folder / f"{image_id}{SUFFIX}"


def parse_folders(choices: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Read `NAME=DIR` choices.

    Args:
        choices: what the user typed.
        names: the names that the config uses.

    Raises:
        InputError: one is not of this form, names something that the config does not use, or no folder.
    """
    folders = {}
    for choice in choices:
        name, equals, folder = choice.partition("=")
        if not equals or not folder:
            raise InputError(f"--aux {choice} is not of the form NAME=DIR, as in --aux saliency=DIR")
        if name not in names:
            raise InputError(
                f"--aux {choice}: the config does not use '{name}'{nearest(name, names)}; "
                f"it uses {', '.join(names) or 'none'}"
            )
        folders[name] = Path(folder).expanduser().resolve()
        if not folders[name].is_dir():
            raise InputError(
                f"--aux {choice}: there is no folder {folders[name]}: name the one with the maps"
            )
    return folders


def stand_in(name: str, dataset: Dataset, ids: Sequence[str], progress: OnProgress | None = None) -> Path:
    """Return the folder of maps that can be computed for a dataset; what is missing is computed.

    Raises:
        InputError: there are none; says where maps are to be had.
    """
    if name == "saliency" and isinstance(dataset, Shapes):
        return make_saliency(dataset.spec, ids, progress=progress)
    raise InputError(
        f"this config trains with {name} maps, one {SUFFIX} per image: pass their folder with "
        f"--aux {name}=DIR{_origin(name, dataset.name)}"
    )


def check_maps(
    name: str,
    folder: Path,
    dataset: Dataset,
    ids: Sequence[str],
    *,
    cache: Path | None = None,
    progress: OnProgress | None = None,
) -> str:
    """Check the maps of some images, and return a hash of the decoded ones.

    Args:
        name: of the auxiliary input.
        folder: has `<image id>.png` for each image.
        dataset: whose images they belong to.
        ids: the images.
        cache: folder for facts about files; default `data_cache()`.
        progress: told (done, total) while files are read; unchanged files are not read again.

    Raises:
        InputError: a map is missing, broken or not of its image's size.
    """
    there = {entry.name for entry in os.scandir(folder)}
    missing = [image_id for image_id in ids if f"{image_id}{SUFFIX}" not in there]
    if missing:
        raise InputError(
            f"{folder} has no {name} map for {len(missing)} of {len(ids)} images (the first is "
            f"{missing[0]}{SUFFIX}): complete it{_origin(name, dataset.name)}"
        )
    store = (cache or data_cache()) / "facts" / f"{name}-{bytes_hash(os.fsencode(folder))[:16]}"
    paths = [map_path(folder, image_id) for image_id in ids]
    facts = [_MapFact(*fact) for fact in FileFacts(folder, store).learn("map", paths, _map_fact, progress)]
    images: list[ImageFact] = whole(dataset.image_facts(ids))
    for image_id, path, fact, image in zip(ids, paths, facts, images, strict=True):
        if fact[:2] != image[:2]:
            raise InputError(
                f"the {name} map {path} is {fact.width} x {fact.height} pixels but its image "
                f"{dataset.image_path(image_id)} is {image.width} x {image.height}: make it anew"
            )
    lines = sorted(f"{image_id} {fact.content}" for image_id, fact in zip(ids, facts, strict=True))
    return content_hash([name, *lines])


def _map_fact(path: Path) -> list[int | str]:
    values = read_map(path)
    return [*values.shape, bytes_hash(values.tobytes())]


def _origin(name: str, dataset: str) -> str:
    origin = ORIGINS.get((name, dataset))
    return f"; {origin}" if origin else ""
