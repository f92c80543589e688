from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import open_dataset
from harness.data.palette import voc_palette
from harness.data.png import encode_png
from harness.data.shapes import MARKER, Shapes, generate_shapes
from harness.data.shapes_scene import CLASSES, SIDE, draw_scene
from harness.errors import InputError


def tree_hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root)}".encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes") / "data"
    generate_shapes(root, seed=3, train=20, train_aug=40, val=8, workers=2)
    return root


def test_same_seed_same_bytes_whatever_the_number_of_workers(root: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path / "again", seed=3, train=20, train_aug=40, val=8, workers=1)
    assert tree_hash(tmp_path / "again") == tree_hash(root)


def test_pictures_are_the_ones_that_every_machine_draws() -> None:
    digest = hashlib.sha256()
    for index in (0, 1, 10_000_000):
        scene = draw_scene(0, index)
        digest.update(encode_png(scene.image) + encode_png(scene.mask, voc_palette()))
    # Raise shapes.VERSION whenever this changes: caches hold data of the old version.
    assert digest.hexdigest()[:16] == "fd01a645c8242f90"


def test_whole_dataset_passes_the_check_and_reads_like_voc(root: Path, tmp_path: Path) -> None:
    shapes = open_dataset("shapes", root, tmp_path)
    shapes.check(["train_aug", "val"], masks_for=["train_aug", "val"])
    assert set(shapes.ids("train")) < set(shapes.ids("train_aug"))
    assert not set(shapes.ids("val")) & set(shapes.ids("train_aug"))
    assert shapes.classes[0] == "background"
    assert shapes.num_classes == 10
    assert shapes.notices == []
    assert not shapes.official  # other sizes than the default
    for image_id in shapes.ids("val"):
        image, mask = shapes.read_image(image_id), shapes.read_mask(image_id, "val")
        assert image.shape[:2] == mask.shape
        assert all(SIDE[0] <= side <= SIDE[1] for side in mask.shape)
        assert {0, 255} < set(np.unique(mask).tolist())
        seen = np.unique(mask[(mask > 0) & (mask < 255)]) - 1
        assert np.flatnonzero(shapes.image_labels(image_id)).tolist() == seen.tolist()


def test_every_class_is_drawn_and_background_does_not_give_the_answer_away() -> None:
    scenes = [draw_scene(1, index) for index in range(120)]
    counts = np.bincount(np.concatenate([s.mask.ravel() for s in scenes]), minlength=256)[: len(CLASSES) + 1]
    assert (counts > 0).all()
    all_background = counts[0] / counts.sum() / len(counts)
    assert all_background < 0.15
    assert any(len({found.label for found in s.objects}) > 1 for s in scenes)


def test_pictures_of_val_do_not_change_with_the_size_of_train(root: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path / "small", seed=3, train=1, train_aug=1, val=2, workers=1)
    for name in ("val_000001.png", "train_000000.png"):
        assert (tmp_path / "small/JPEGImages" / name).read_bytes() == (
            root / "JPEGImages" / name
        ).read_bytes()


def test_generating_again_keeps_what_is_there_and_refuses_another_spec(root: Path) -> None:
    before = (root / MARKER).stat().st_mtime_ns
    generate_shapes(root, seed=3, train=20, train_aug=40, val=8)
    assert (root / MARKER).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another shapes dataset"):
        generate_shapes(root, seed=4, train=20, train_aug=40, val=8)


def test_killed_generation_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    leftover = tmp_path / ".data.part-killed"
    (leftover / "JPEGImages").mkdir(parents=True)
    with pytest.raises(InputError, match="no complete shapes"):
        Shapes(leftover)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_shapes(tmp_path / "data", train=2, train_aug=2, val=2, workers=1, progress=stop)
    assert not (tmp_path / "data").exists()
    generate_shapes(tmp_path / "data", train=2, train_aug=2, val=2, workers=1)
    assert {path.name for path in tmp_path.iterdir()} <= {"data", ".data.lock"}


def test_two_at_once_make_one_dataset(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def generate(_: int) -> None:
        generate_shapes(
            tmp_path / "data", train=4, train_aug=8, val=2, workers=1, progress=lambda *p: told.append(p)
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(generate, range(2)))
    assert told == [(8, 10), (10, 10)]
    assert len(Shapes(tmp_path / "data", tmp_path).ids("train_aug")) == 8


def test_other_version_and_wrong_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train <= train_aug"):
        generate_shapes(tmp_path / "data", train=5, train_aug=4)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / MARKER).write_text(json.dumps({"version": 0}))
    with pytest.raises(InputError, match="version 0"):
        Shapes(tmp_path / "old")


@pytest.mark.parametrize("shape", [(7, 5), (160, 131, 3), (260, 300)])
def test_png_reads_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(pixels, voc_palette() if len(shape) == 2 else None))
    with Image.open(path) as image:
        assert image.mode == ("P" if len(shape) == 2 else "RGB")
        assert (np.array(image) == pixels).all()
