"""Results of other codes: folders with one file per image, in the layouts that released codes write.

`open_predictions` reads all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.data.palette import read_mask
from harness.data.pickled_npy import MAX_BYTES, read_npy
from harness.errors import InputError, nearest
from harness.npz import read_npz

Kind = Literal["cam", "scores", "masks"]
Float32Array = NDArray[np.float32]

_SAMPLE = 64  # files that are looked at to recognise a layout


class ScoreMaps(NamedTuple):
    """Scores of one image of H x W.

    Attributes:
        keys: (K,) int64, ascending. Of kind `cam` class indices without background (the first class is 0);
            of kind `scores` labels, with background as 0.
        maps: (K, H, W) float32, finite.
    """

    keys: NDArray[np.int64]
    maps: Float32Array


@dataclass(frozen=True)
class Layout:
    """How files of results look.

    Attributes:
        kind: `cam`: maps of the image's classes without background; `scores`: maps with background;
            `masks`: labels.
        suffixes: of the files; the first is the one that is written.
        holds: what a file holds, for people.
        has_quarter: whether there are maps at a quarter of the image's size beside those at its size.
    """

    kind: Kind
    suffixes: tuple[str, ...]
    holds: str
    has_quarter: bool = False


LAYOUTS: dict[str, Layout] = {
    "cam-index": Layout("cam", (".npy",), "dictionary {class index: (H, W) map}, the first class is 0"),
    "cam-label": Layout("scores", (".npy",), "dictionary {label: (H, W) map}, background 0, class index + 1"),
    "irn": Layout("cam", (".npy",), "dictionary {keys, cam, high_res}, the first class is 0", True),
    "scores": Layout("scores", (".npy", ".npz"), "array (classes + 1, H, W), background first"),
    "masks": Layout("masks", (".png",), "labels as 8-bit palette or gray image"),
    "harness": Layout("cam", (".npz",), "arrays keys, cam, high_res: the CAMs of an infer stage", True),
}


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions. Reading is thread-safe, and an instance may be sent to worker processes."""

    folder: Path
    layout: str

    @property
    def kind(self) -> Kind:
        """What the files hold."""
        return LAYOUTS[self.layout].kind

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images that have a prediction, ascending."""
        return tuple(sorted(self._files))

    @cached_property
    def _files(self) -> Mapping[str, str]:
        suffixes = LAYOUTS[self.layout].suffixes
        return {path.stem: path.suffix for path in files_of(self.folder) if path.suffix in suffixes}

    def path(self, image_id: str) -> Path:
        """Return the file of an image.

        Raises:
            InputError: there is none.
        """
        if image_id not in self._files:
            raise InputError(
                f"{self.folder} has no prediction of image {image_id} in layout '{self.layout}': "
                "complete the folder"
            )
        return self.folder / f"{image_id}{self._files[image_id]}"

    def read(self, image_id: str) -> ScoreMaps:
        """Read an image's maps; for kinds `cam` and `scores`.

        Raises:
            InputError: the file is missing or broken, or does not have the layout.
        """
        path = self.path(image_id)
        if self.layout == "scores":
            maps = _array(path)
            return ScoreMaps(np.arange(len(maps)), _finite(path, maps.astype(np.float32, copy=False)))
        if LAYOUTS[self.layout].has_quarter:
            fields = self.fields(image_id)
            return ScoreMaps(fields["keys"], fields["high_res"])
        return _dictionary(path, background=self.layout == "cam-label")

    def read_mask(self, image_id: str) -> NDArray[np.uint8]:
        """Read an image's labels, (H, W) uint8; for kind `masks`.

        Raises:
            InputError: the file is missing or broken, or holds colours.
        """
        return read_mask(self.path(image_id))

    def fields(self, image_id: str) -> dict[str, NDArray[Any]]:
        """Read `keys` (K,), `cam` (K, h, w) and `high_res` (K, H, W); for layouts `irn` and `harness`.

        Raises:
            InputError: the file is missing or broken, or does not have the layout.
        """
        path = self.path(image_id)
        found = read_npy(path) if self.layout == "irn" else _npz(path)
        if not isinstance(found, dict) or not {"keys", "cam", "high_res"} <= found.keys():
            raise InputError(f"{path} holds no keys, cam and high_res: name another --layout")
        keys, cam, high_res = (np.asarray(found[name]) for name in ("keys", "cam", "high_res"))
        if (
            keys.ndim != 1
            or not len(keys) == len(cam) == len(high_res)
            or cam.ndim != 3
            or high_res.ndim != 3
        ):
            raise InputError(
                f"{path}: shapes {keys.shape}, {cam.shape} and {high_res.shape} of keys, cam and high_res "
                "do not go together: write the file anew"
            )
        return {
            "keys": keys.astype(np.int64),
            "cam": _finite(path, cam.astype(np.float32, copy=False)),
            "high_res": _finite(path, high_res.astype(np.float32, copy=False)),
        }


def open_predictions(
    folder: Path, layout: str | None = None, *, num_classes: int | None = None
) -> Predictions:
    """Open a folder of predictions.

    Args:
        folder: has one file per image, `<image id>` and a suffix.
        layout: a key of `LAYOUTS`; None recognises it by looking at some files.
        num_classes: classes without background, which helps to tell the two kinds of dictionaries apart.

    Raises:
        InputError: no such folder or layout, no file of the layout, or files that fit none or several.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(
            f"there is no layout '{layout}'{nearest(layout, LAYOUTS)}; the layouts are {', '.join(LAYOUTS)}"
        )
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: name the one that holds the predictions")
    predictions = Predictions(folder, layout or recognise(folder, num_classes))
    if not predictions.ids:
        suffixes = " or ".join(LAYOUTS[predictions.layout].suffixes)
        raise InputError(f"{folder} has no {suffixes} files, as layout '{layout}' has: name another folder")
    return predictions


def recognise(folder: Path, num_classes: int | None = None) -> str:
    """Return the layout of a folder's files.

    Raises:
        InputError: the files fit none or several layouts.
    """
    paths = sorted(files_of(folder))
    suffixes = {path.suffix for path in paths} & {".npy", ".npz", ".png"}
    if len(suffixes) != 1:
        found = f"both {' and '.join(sorted(suffixes))} files" if suffixes else "no .npy, .npz or .png files"
        raise InputError(f"{folder} has {found}: name the folder of one kind, or its --layout")
    (suffix,) = suffixes
    paths = [path for path in paths if path.suffix == suffix]
    if suffix == ".png":
        return "masks"
    if suffix == ".npz":
        return "harness" if "high_res" in _npz(paths[0]) else "scores"
    first = read_npy(paths[0])
    if not isinstance(first, dict):
        return "scores"
    if "high_res" in first:
        return "irn"
    return _key_convention(folder, paths[:: max(1, len(paths) // _SAMPLE)], num_classes)


def _key_convention(folder: Path, paths: list[Path], num_classes: int | None) -> str:
    """Whether keys are class indices, or labels with a background that every file has."""
    seen = set()
    for path in paths:
        keys = frozenset(_mapping(path))
        if 0 not in keys or len(keys) == 1:
            return "cam-index"
        seen.add(keys)
    everything = num_classes is not None and seen == {frozenset(range(num_classes))}
    if everything:  # codes that store a map for each class, present or not
        return "cam-index"
    if len(seen) > 1 or seen == {frozenset(range((num_classes or 0) + 1))}:
        return "cam-label"
    raise InputError(
        f"the keys in {folder} may be class indices, or labels with background as 0: "
        "say which with --layout cam-index or --layout cam-label"
    )


def files_of(folder: Path) -> list[Path]:
    """Files of a folder but hidden ones."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _mapping(path: Path) -> dict[Any, Any]:
    found = read_npy(path)
    if not isinstance(found, dict) or not all(isinstance(key, int) for key in found):
        raise InputError(f"{path} holds no dictionary of maps by class: name another --layout")
    return found


def _dictionary(path: Path, *, background: bool) -> ScoreMaps:
    found = _mapping(path)
    if background and 0 not in found:
        raise InputError(f"{path} has no map of the background (key 0): its --layout may be cam-index")
    keys = sorted(found)
    shapes = {np.shape(found[key]) for key in keys}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or keys[0] < 0:
        raise InputError(f"{path} does not hold maps of one size (H, W) by class: write the file anew")
    maps = np.stack([found[key] for key in keys]) if len(keys) > 1 else np.asarray(found[keys[0]])[None]
    maps = maps.astype(np.float32, copy=False)
    return ScoreMaps(np.array(keys, np.int64), _finite(path, maps))


def _array(path: Path) -> NDArray[Any]:
    found = read_npy(path) if path.suffix == ".npy" else _npz(path)
    if isinstance(found, dict) and len(found) == 1:
        (found,) = found.values()
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.dtype.kind not in "fiu":
        raise InputError(f"{path} does not hold one array (classes + 1, H, W): name another --layout")
    return found


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an archive that is not larger than it may be once it is unpacked."""
    try:
        return read_npz(path, max_bytes=MAX_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as arrays ({error}): write the file anew") from error


def _finite(path: Path, maps: Float32Array) -> Float32Array:
    if not np.isfinite(maps).all():
        raise InputError(f"{path} holds values that are no finite numbers: write the file anew")
    return maps
