"""What is read from outside: seeds, mutations, and the readers with the errors that they may raise."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.artifact import Artifact
from harness.components import component_arguments
from harness.config import apply_override, find_config, load_config, parse_override
from harness.data.archive import extract
from harness.data.coco_classes import CLASSES, LABEL_OF_CATEGORY
from harness.data.coco_instances import read_instances, read_regions
from harness.data.image_file import check_image, read_rgb
from harness.data.palette import check_mask, read_mask, voc_palette
from harness.data.pickled_npy import read_npy
from harness.data.sbd import decode_mask
from harness.data.voc import read_object_classes
from harness.layouts import open_predictions, recognise
from harness.mxnet_params import read_params
from harness.npz import read_npz
from harness.record import read_record
from harness.request import DatasetRequest, StageRequest
from harness.schema import STAGE
from harness.stage import read_request
from harness.weights import load_state
from leaderboard.baseline import read_baseline
from tests.fuzz import mutations
from tests.record_samples import metric, record, stage
from tests.tiny_stages import TRAIN
from tests.unit.mxnet_file import params_bytes
from tests.unit.voc_archives import mat_file, sbd_mask

Make = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: for the table.
        share: of all inputs, in per mille.
        make: makes an input.
        read: gets it as a file in a folder of its own.
        refusals: what it may raise besides `InputError`.
        suffix: of the file.
    """

    name: str
    share: int
    make: Make
    read: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...] = ()
    suffix: str = ""


def _bytes(*seeds: bytes) -> Make:
    return lambda rng: mutations.mutated_bytes(rng.choice(seeds), rng)


def _json(*seeds: Any) -> Make:
    return lambda rng: mutations.mutated_json(rng.choice(seeds), rng)


def _saved(array: Any, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **settings)
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    maps = np.random.default_rng(0).random((2, 6, 7), dtype=np.float32)
    np.savez(buffer, keys=np.array([0, 4]), cam=maps[:, :2, :2], high_res=maps)
    return buffer.getvalue()


def _mask() -> bytes:
    path = io.BytesIO()
    image = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7) % 21, mode="P")
    image.putpalette(voc_palette().tobytes())
    image.save(path, "PNG")
    return path.getvalue()


def _photo(kind: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _checkpoint(new: bool) -> bytes:
    buffer = io.BytesIO()
    state = {"conv.weight": torch.zeros(2, 3), "steps": torch.tensor(3)}
    torch.save({"state_dict": state}, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def _record() -> Any:
    sample = record(stage("cam", type="train"), stage("seeds", metric("seed", 0.5, "fixed", 0.2)))
    return sample.model_dump(mode="json")


def _request() -> Any:
    sample = StageRequest(
        stage="cam",
        type="train",
        key="0" * 32,
        config=STAGE.validate_python(TRAIN).model_dump(mode="json"),
        dataset=DatasetRequest(name="shapes", root=Path("data"), num_classes=10, ids={"train": ["a", "b"]}),
        inputs={"init": Path("other")},
    )
    return sample.model_dump(mode="json")


_MANIFEST = {
    "contract": 1,
    "kind": "scores",
    "stage": "cam",
    "key": "0" * 32,
    "meta": {"scores": "cam"},
    "files": {"a.npz": {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}},
}
_INSTANCES = {
    "images": [{"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "height": 5, "width": 6}],
    "annotations": [
        {"id": 7, "image_id": 1, "category_id": 2, "iscrowd": 0, "segmentation": [[0, 0, 5, 0, 5, 4]]},
        {
            "id": 8,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 1,
            "segmentation": {"size": [5, 6], "counts": [30]},
        },
    ],
    "categories": [{"id": number, "name": CLASSES[label]} for number, label in LABEL_OF_CATEGORY.items()],
}
_ANNOTATION = b"""<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY b "bird">]>
<annotation><object><name>bird</name></object><object><name>&b;</name></object></annotation>"""


def _read_request(path: Path) -> None:
    STAGE.validate_python(read_request(path).config)


def _read_artifact(path: Path) -> None:
    """The content is the manifest of the folder that it lies in."""
    folder = path.parent
    (folder / "files").mkdir()
    (folder / "files" / "a.npz").write_bytes(b"abc")
    path.replace(folder / "manifest.json")
    artifact = Artifact(folder)
    assert artifact.manifest.content_key
    if problem := artifact.problem():
        raise ValueError(problem)


def _read_archive(path: Path) -> None:
    target = path.parent / "unpacked"
    target.mkdir(exist_ok=True)
    extract(path, lambda name: name, target)


def _read_instances(path: Path) -> None:
    for image in read_instances(path):
        read_regions(path, image)


def _read_layout(path: Path) -> None:
    recognise(path.parent, 20)
    predictions = open_predictions(path.parent, None, num_classes=20)
    for image_id in predictions.ids:
        predictions.read(image_id)


def _read_mask(path: Path) -> None:
    read_mask(path)
    check_mask(path, 20)


def _read_photo(path: Path) -> None:
    check_image(path)
    read_rgb(path)


def _read_annotation(path: Path) -> None:
    read_object_classes(path, ["background", "bird"])


def _override(rng: random.Random) -> bytes:
    return mutations.override_text(_PATHS, rng).encode("utf-8", "surrogatepass")


def _read_override(path: Path) -> None:
    document = json.loads(_CONFIG)
    apply_override(document, parse_override(path.read_bytes().decode("utf-8", "surrogatepass")))


_CONFIG = load_config(find_config("vwe", "shapes")).model_dump_json(exclude_unset=True)


def _paths(node: Any, before: str = "") -> list[str]:
    found = []
    for name, value in node.items() if isinstance(node, dict) else ():
        found += [f"{before}{name}", *_paths(value, f"{before}{name}.")]
    return found


_PATHS = _paths(json.loads(_CONFIG))
_CAMS = {3: np.ones((3, 4), np.float32), 19: np.zeros((3, 4), np.float32)}


def targets() -> list[Target]:
    """Everything that is fuzzed."""
    component_arguments("SGD", ["methods.vwe"])  # imports what overrides are checked with
    npy = _saved(np.arange(12, dtype=np.float32).reshape(3, 4))
    dictionary = _saved(np.array(_CAMS, dtype=object), allow_pickle=True)
    pickled = pickle.dumps(_CAMS, protocol=2)
    labels = {"2007_000027": np.ones(20, np.float32)}
    scores = _npz()
    baseline = Path(__file__).parents[2] / "benchmarks" / "baselines" / "cam-shapes-check.json"
    labels_list = _saved(np.array(labels), allow_pickle=True)
    all_classes = _saved(np.zeros((21, 3, 4), np.float32))
    params, mask = params_bytes({"a": np.zeros((2, 3), np.float32)}), mat_file(sbd_mask("2008_000002"))
    return [
        Target("--set overrides", 170, _override, _read_override),
        Target("stage.json", 90, _json(_request()), _read_request, (ValueError,)),
        Target("record.json", 70, _json(_record()), read_record),
        Target("manifest.json", 70, _json(_MANIFEST), _read_artifact, (ValueError,)),
        Target("baseline", 10, _json(json.loads(baseline.read_text(encoding="utf-8"))), read_baseline),
        Target(".npy dictionary", 120, _bytes(dictionary, labels_list), read_npy),
        Target(".npy array", 40, lambda rng: mutations.header_changed(npy, rng), read_npy),
        Target(".npz scores", 60, _bytes(scores), read_npz, (ValueError,), ".npz"),
        Target("predictions", 40, _bytes(dictionary, all_classes), _read_layout, (), ".npy"),
        Target(".mat", 50, _bytes(mask), lambda path: decode_mask(path.read_bytes()), (ValueError,)),
        Target(".params", 60, _bytes(params), read_params, (), ".params"),
        Target(".pth", 30, _bytes(_checkpoint(True), _checkpoint(False), pickled), load_state, (), ".pth"),
        Target("mask .png", 70, _bytes(_mask()), _read_mask, (), ".png"),
        Target("image", 40, _bytes(_photo("PNG"), _photo("JPEG")), _read_photo),
        Target("VOC annotation", 30, _bytes(_ANNOTATION), _read_annotation),
        Target("COCO instances", 30, _json(_INSTANCES), _read_instances),
        Target("tar archive", 10, mutations.hostile_tar, _read_archive),
        Target("zip archive", 10, mutations.hostile_zip, _read_archive),
    ]


__all__ = ["Target", "targets"]
