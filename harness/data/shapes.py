"""The embedded toy dataset: pictures of `shapes_scene`, generated into VOC's layout and read like VOC.

Images are uncompressed PNGs (in JPEGImages, where readers of VOC's layout look), so that the same seed and
sizes give the same bytes on every machine.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.data.cache import data_cache
from harness.data.dataset import LabelSource
from harness.data.fingerprint import OnProgress, bytes_hash
from harness.data.official_splits import SHAPES_SPLITS, OfficialSplit, OfficialSplits
from harness.data.palette import voc_palette
from harness.data.png import encode_png
from harness.data.shapes_scene import CLASSES, Scene, draw_scene
from harness.data.voc import VOC, write_id_list
from harness.errors import InputError
from harness.files import canonical_json, write_json
from harness.locks import locked
from harness.processes import map_unordered

VERSION = 1  # of the pictures: raise it with every change to what is drawn
MARKER = "shapes.json"  # written last; a folder without it is not whole

_VAL_START = 10_000_000  # index of the first val picture: val stays the same whatever the size of train
_FOLDERS = ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation")
_SHARD = 32  # pictures per task
_DONE = "done-shards"  # in the unfinished folder: a line per shard whose files are whole
_Shard = tuple[str, int, int]  # train or val, number of the first picture, number after the last one

_log = logging.getLogger(__name__)
_worker: dict[str, Any] = {}


@dataclass(frozen=True)
class ShapesSpec:
    """What determines every byte of the dataset.

    Attributes:
        train_aug: images with image-level labels to train on.
        train: the first of them, on which seeds are evaluated.
        val: held-out images.
    """

    seed: int = 0
    train: int = 400
    train_aug: int = 1600
    val: int = 200
    version: int = VERSION


class Shapes(VOC):
    """The generated dataset; class names and splits differ from VOC, the rest is VOC's.

    Raises:
        InputError: the folder does not hold a complete dataset of this version.
    """

    name = "shapes"
    classes: ClassVar[tuple[str, ...]] = ("background", *CLASSES)
    splits: ClassVar[tuple[str, ...]] = ("train", "train_aug", "val")
    unlabelled_splits: ClassVar[tuple[str, ...]] = ()
    optional_splits: ClassVar[tuple[str, ...]] = ()
    image_suffix = ".png"

    def __init__(self, root: Path, cache: Path | None = None, labels: LabelSource = "annotations") -> None:
        self.spec = read_marker(root)
        self.official_splits: OfficialSplits = SHAPES_SPLITS
        if self.spec != ShapesSpec():  # then only the sizes are known
            sizes = {"train": self.spec.train, "train_aug": self.spec.train_aug, "val": self.spec.val}
            self.official_splits = {split: OfficialSplit(size, None) for split, size in sizes.items()}
        super().__init__(root, cache, labels)

    def _derived_labels(self, image_id: str) -> list[int]:
        # No list is needed: an object of which nothing can be seen is not annotated.
        return self._read_labels(self.annotation_path(image_id))

    @classmethod
    def open(
        cls,
        root: Path | None,
        cache: Path | None = None,
        progress: OnProgress | None = None,
        labels: LabelSource = "annotations",
    ) -> Shapes:
        """Open the dataset at `root`; without a root, the default one, generated on first use."""
        if root is None:
            root = default_root(cache)
            generate_shapes(root, progress=progress)
        return cls(root, cache, labels)

    @property
    def official(self) -> bool:
        """Whether seed, sizes and version are the default ones, and nothing was found to differ."""
        return self.spec == ShapesSpec() and super().official

    def needs_masks(self, split: str) -> bool:
        """Return True: every picture was drawn with its mask."""
        return True


def default_root(cache: Path | None = None) -> Path:
    """Folder of the default dataset in the cache."""
    return (cache or data_cache()) / f"shapes-v{VERSION}"


def read_marker(root: Path) -> ShapesSpec:
    """Return what a complete dataset was generated from.

    Raises:
        InputError: it is absent, incomplete or of another version.
    """
    try:
        spec = ShapesSpec(**json.loads((root / MARKER).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"there is no complete shapes dataset in {root} ({MARKER} is missing): leave out --data-root "
            "to have one made"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{root / MARKER} cannot be read ({error}): delete {root} to have it made again"
        ) from error
    if spec.version != VERSION:
        raise InputError(
            f"the shapes dataset in {root} is of version {spec.version}, not {VERSION}: delete it to have it "
            "made again"
        )
    return spec


def generate_shapes(
    root: Path,
    seed: int = 0,
    train: int = ShapesSpec.train,
    val: int = ShapesSpec.val,
    train_aug: int = ShapesSpec.train_aug,
    workers: int | None = None,
    progress: OnProgress | None = None,
) -> None:
    """Generate the dataset into `root`, unless it is there already; it appears whole or not at all.

    What a killed process has made of the same dataset is kept. Two processes may do this at once: the second
    waits and finds the work done.

    Args:
        seed, train, val, train_aug: see `ShapesSpec`; `train` must not exceed `train_aug`.
        workers: processes; default one per core.
        progress: told (images done, images in all).

    Raises:
        InputError: sizes make no sense, or `root` holds something else.
    """
    if not (0 < train <= train_aug <= _VAL_START and val > 0):
        raise InputError(
            f"shapes needs 0 < train <= train_aug and val > 0, not train={train}, {train_aug=}, {val=}"
        )
    spec = ShapesSpec(seed, train, train_aug, val)
    if (root / MARKER).exists():  # no lock, so that a read-only folder will do
        _require_same(root, spec)
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with locked(root.parent / f".{root.name}.lock", lambda: _tell_waiting(root)):
            if root.exists() and any(root.iterdir()):
                _require_same(root, spec)
                return
            _generate(root, spec, workers or len(os.sched_getaffinity(0)), progress)
    except OSError as error:
        raise InputError(
            f"cannot write the shapes dataset into {root} ({error.strerror or error}): free space or choose "
            "another cache folder with HARNESS_CACHE"
        ) from error


def _require_same(root: Path, spec: ShapesSpec) -> None:
    found = read_marker(root)
    if found != spec:
        raise InputError(f"{root} holds another shapes dataset ({found}): choose another folder or delete it")


def _tell_waiting(root: Path) -> None:
    _log.warning("another process is generating %s: waiting for it", root)


def _generate(root: Path, spec: ShapesSpec, workers: int, progress: OnProgress | None) -> None:
    part = _open_part(root, spec)
    done = _done_shards(part / _DONE)
    todo = [s for s in (*_shards("train", spec.train_aug), *_shards("val", spec.val)) if s not in done]
    written = sum(stop - start for _, start, stop in done)
    with (part / _DONE).open("a", encoding="utf-8") as log:
        for shard, _ in map_unordered(_write_shard, todo, min(workers, len(todo)), _begin, (part, spec.seed)):
            log.write(" ".join(map(str, shard)) + "\n")
            log.flush()
            written += shard[2] - shard[1]
            if progress:
                progress(written, spec.train_aug + spec.val)
    for split, count in (("train", spec.train), ("train_aug", spec.train_aug), ("val", spec.val)):
        kind = "val" if split == "val" else "train"
        write_id_list(
            part / "ImageSets" / "Segmentation" / f"{split}.txt",
            (_picture_id(kind, number) for number in range(count)),
        )
    write_json(part / MARKER, asdict(spec))
    (part / _DONE).unlink()
    part.replace(root)


def picture_index(image_id: str) -> int:
    """Return the index of a picture among all that a seed draws, from its id."""
    kind, _, number = image_id.partition("_")
    return int(number) + (_VAL_START if kind == "val" else 0)


def _picture_id(kind: str, number: int) -> str:
    return f"{kind}_{number:06d}"


def _shards(kind: str, count: int) -> list[_Shard]:
    return [(kind, start, min(start + _SHARD, count)) for start in range(0, count, _SHARD)]


def _open_part(root: Path, spec: ShapesSpec) -> Path:
    """Return the folder in which the dataset grows; what was begun of other datasets goes.

    The lock is held, so nobody is writing there.
    """
    part = root.parent / f".{root.name}.part-{bytes_hash(canonical_json(asdict(spec)).encode())[:16]}"
    for other in root.parent.glob(f".{root.name}.part-*"):
        if other != part:
            shutil.rmtree(other, ignore_errors=True)
    for folder in _FOLDERS:
        (part / folder).mkdir(parents=True, exist_ok=True)
    return part


def _done_shards(log: Path) -> set[_Shard]:
    """Read which shards are whole; a line that a killed process left half-written is removed."""
    if not log.exists():
        return set()
    whole, newline, _ = log.read_text(encoding="utf-8").rpartition("\n")
    log.write_text(whole + newline, encoding="utf-8")
    rows = (line.split() for line in whole.splitlines())
    return {(kind, int(start), int(stop)) for kind, start, stop in rows}


def _begin(folder: Path, seed: int) -> None:
    _worker.update(folder=folder, seed=seed, palette=voc_palette())


def _write_shard(shard: _Shard) -> None:
    folder, seed, palette = _worker["folder"], _worker["seed"], _worker["palette"]
    kind, start, stop = shard
    for number in range(start, stop):
        name = _picture_id(kind, number)
        scene = draw_scene(seed, picture_index(name))
        (folder / "JPEGImages" / f"{name}.png").write_bytes(encode_png(scene.image))
        (folder / "SegmentationClass" / f"{name}.png").write_bytes(encode_png(scene.mask, palette))
        (folder / "Annotations" / f"{name}.xml").write_text(_annotation(name, scene), encoding="utf-8")


def _annotation(name: str, scene: Scene) -> str:
    height, width = scene.mask.shape
    objects = "".join(
        f"  <object>\n    <name>{CLASSES[found.label]}</name>\n    <difficult>0</difficult>\n    <bndbox>"
        + "".join(f"<{key}>{at}</{key}>" for key, at in zip(("xmin", "ymin", "xmax", "ymax"), found.box))
        + "</bndbox>\n  </object>\n"
        for found in scene.objects
    )
    return (
        f"<annotation>\n  <folder>shapes</folder>\n  <filename>{name}.png</filename>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"  <segmented>1</segmented>\n{objects}</annotation>\n"
    )
