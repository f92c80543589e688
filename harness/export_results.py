"""Artifacts in the layouts that other codes read: a folder with a file per image."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifact import Artifact
from harness.data.fingerprint import OnProgress
from harness.data.palette import read_mask, voc_palette, write_mask
from harness.errors import InputError
from harness.files import atomic_file
from harness.layouts import LAYOUTS
from harness.processes import map_unordered
from harness.stages.per_image import load_scores

# Layouts by what an artifact holds.
EXPORTS = {
    "cam": ("cam-index", "cam-label", "irn", "scores", "masks"),
    "logits": ("scores", "masks"),
    "masks": ("masks",),
}
_NEEDS_BACKGROUND = ("cam-label", "scores", "masks")  # where CAMs, which have none, are exported

_worker: dict[str, Any] = {}


def export_results(
    artifact: Artifact,
    layout: str,
    folder: Path,
    *,
    classes: int,
    background: float | None = None,
    ids: Collection[str] | None = None,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> int:
    """Write an artifact's scores or masks in another layout; returns the number of images.

    Args:
        artifact: whole; of kind `scores` or `masks`.
        layout: a key of `LAYOUTS`.
        folder: to make; it must not hold anything.
        classes: without background.
        background: constant score of the background, which CAMs need where a layout has one.
        ids: images; default all.
        workers: processes.
        progress: told (done, total) images.

    Raises:
        InputError: the artifact cannot be had in this layout, a background is missing, or the folder is not
            empty.
    """
    kind = _require_layout(artifact, layout, background)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name a new folder for the export")
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(Path(name).stem for name in artifact.manifest.files)
    names: Sequence[str] = there if ids is None else [name for name in there if name in ids]
    job = (artifact.files, kind, layout, folder, classes, background)
    for done, _ in enumerate(map_unordered(_write_image, names, workers, _begin, job), start=1):
        if progress:
            progress(done, len(names))
    return len(names)


def _require_layout(artifact: Artifact, layout: str, background: float | None) -> str:
    """Return what the artifact holds, if that can be had in the layout."""
    kind = str(artifact.manifest.meta.get("scores", artifact.manifest.kind))
    possible = EXPORTS.get(kind, ())
    if layout not in possible:
        raise InputError(
            f"{kind} of stage '{artifact.manifest.stage}' cannot be exported as '{layout}'; "
            f"layouts for them: {', '.join(possible) or 'none'}"
        )
    if kind == "cam" and layout in _NEEDS_BACKGROUND and background is None:
        raise InputError(
            f"layout '{layout}' has a background, and CAMs have none: give its score with --background"
        )
    return kind


def _begin(files: Path, kind: str, layout: str, folder: Path, classes: int, background: float | None) -> None:
    _worker.update(files=files, kind=kind, layout=layout, folder=folder, classes=classes)
    _worker.update(background=background, palette=voc_palette())


def _write_image(image_id: str) -> None:
    kind, layout, folder = _worker["kind"], _worker["layout"], _worker["folder"]
    target = folder / f"{image_id}{LAYOUTS[layout].suffixes[0]}"
    if kind == "masks":
        write_mask(target, read_mask(_worker["files"] / f"{image_id}.png"), _worker["palette"])
        return
    scores = load_scores(_worker["files"] / f"{image_id}.npz")
    if layout == "irn":
        write_dictionary(target, _irn(scores))
    elif layout == "cam-index":
        write_dictionary(target, _by_key(scores["keys"], scores["high_res"]))
    elif layout == "cam-label":
        labels = np.concatenate([[0], scores["keys"] + 1])
        write_dictionary(target, _by_key(labels, _with_background(scores["high_res"])))
    else:
        maps = _all_maps(scores)
        if layout == "scores":
            with atomic_file(target, durable=False) as file:
                np.save(file, maps, allow_pickle=False)
        else:
            write_mask(target, maps.argmax(0).astype(np.uint8), _worker["palette"])


def _irn(scores: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The dictionary that IRNet's release reads: `keys` and `cam` are tensors, `high_res` is an array."""
    import torch

    tensors = {name: torch.from_numpy(np.ascontiguousarray(scores[name])) for name in ("keys", "cam")}
    return {**tensors, "high_res": scores["high_res"]}


def _by_key(keys: NDArray[np.int64], maps: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    return {int(key): np.ascontiguousarray(values) for key, values in zip(keys, maps, strict=True)}


def _with_background(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    background = np.full((1, *maps.shape[1:]), _worker["background"], np.float32)
    return np.concatenate([background, maps])


def _all_maps(scores: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """(classes + 1, H, W) with background first; CAMs of absent classes are 0."""
    if "logits" in scores:
        from harness.ops.resize import upsample_logits

        height, width = (int(side) for side in scores["size"])
        return upsample_logits(scores["logits"], (height, width))
    maps = np.zeros((_worker["classes"] + 1, *scores["high_res"].shape[1:]), np.float32)
    maps[0] = _worker["background"]
    maps[scores["keys"] + 1] = scores["high_res"]
    return maps


def write_dictionary(path: Path, document: dict[Any, Any]) -> None:
    """Write a dictionary as `np.save` does, such that numpy of any version reads it with `allow_pickle`."""
    array = np.empty((), dtype=object)
    array[()] = document
    with atomic_file(path, durable=False) as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(_for_any_numpy(pickle.dumps(array, protocol=3)))


def _for_any_numpy(body: bytes) -> bytes:
    """Give numpy's module the name that it had before version 2, which later ones know too."""
    new, old = b"cnumpy._core.", b"cnumpy.core."
    out, start = io.BytesIO(), 0
    for opcode, _, position in pickletools.genops(body):
        if opcode.name == "GLOBAL" and body.startswith(new, position):
            out.write(body[start:position] + old)
            start = (position or 0) + len(new)
    out.write(body[start:])
    return out.getvalue()
