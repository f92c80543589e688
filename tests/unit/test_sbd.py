"""SBD's archive becomes masks and lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.data.palette import read_mask
from harness.data.sbd import convert_masks, decode_mask
from harness.errors import InputError
from tests.unit.voc_archives import mat_file, sbd_mask, write_tar

BELOW = "benchmark_RELEASE/dataset"
IDS = ("2008_000002", "2008_000003", "2008_000007")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


def convert(archive: Path, folder: Path, leave_out: tuple[str, ...] = (), **options: bool) -> set[str]:
    return convert_masks(archive, folder, leave_out, 1, lambda done, total: None, **options)


def archive(
    path: Path,
    masks: dict[str, bytes],
    train: bytes = b"2008_000002\n2008_000003\n",
    val: bytes = b"2008_000007",
) -> Path:
    members = [(f"{BELOW}/cls/{name}.mat", content) for name, content in masks.items()]
    return write_tar(path, [(f"{BELOW}/train.txt", train), *members, (f"{BELOW}/val.txt", val)])


def whole_archive(tmp_path: Path, **changes: bytes) -> Path:
    masks = {image_id: mat_file(sbd_mask(image_id)) for image_id in IDS}
    return archive(tmp_path / "benchmark.tgz", {**masks, **changes})


def test_masks_become_palette_pngs_and_both_lists_are_returned(tmp_path: Path, folder: Path) -> None:
    assert convert(whole_archive(tmp_path), folder) == set(IDS)
    assert {path.stem for path in folder.iterdir()} == set(IDS)
    for image_id in IDS:
        assert (read_mask(folder / f"{image_id}.png") == sbd_mask(image_id)).all()


def test_masks_that_voc_has_itself_and_masks_of_no_list_are_left_out(tmp_path: Path, folder: Path) -> None:
    path = whole_archive(tmp_path, **{"2009_000001": mat_file(sbd_mask("2009_000001"))})
    assert convert(path, folder, leave_out=(IDS[0],)) == set(IDS)
    assert {path.stem for path in folder.iterdir()} == set(IDS[1:])


def test_keep_converts_only_what_is_missing(tmp_path: Path, folder: Path) -> None:
    path = whole_archive(tmp_path)
    convert(path, folder)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    (folder / f"{IDS[1]}.png").unlink()
    convert(path, folder, keep=True)
    after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {f"{IDS[1]}.png"}


def test_a_listed_image_without_mask_is_named(tmp_path: Path, folder: Path) -> None:
    masks = {image_id: mat_file(sbd_mask(image_id)) for image_id in IDS[:2]}
    with pytest.raises(InputError, match=r"benchmark\.tgz has no mask of the image 2008_000007"):
        convert(archive(tmp_path / "benchmark.tgz", masks), folder)


def test_a_missing_list_is_named(tmp_path: Path, folder: Path) -> None:
    path = write_tar(tmp_path / "benchmark.tgz", [(f"{BELOW}/train.txt", b"")])
    with pytest.raises(InputError, match=r"benchmark\.tgz has no dataset/val\.txt"):
        convert(path, folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no MATLAB file", "no MATLAB file of level 5"),
        (mat_file(sbd_mask(IDS[0]))[:100], "no MATLAB file of level 5"),
        (mat_file(sbd_mask(IDS[0]))[:-20], "cut off"),
        (mat_file(np.full((4, 5), 21, np.uint8)), "it holds label 21"),
        (mat_file(np.full((4, 5, 3), 1, np.uint8)), "shape"),
    ],
    ids=["text", "header alone", "cut off", "label", "shape"],  # contents hold the time of their making
)
def test_a_file_that_is_no_mask_is_named(tmp_path: Path, folder: Path, content: bytes, reason: str) -> None:
    with pytest.raises(
        InputError, match=rf"benchmark\.tgz holds cls/{IDS[1]}\.mat, which is no mask .*{reason}"
    ):
        convert(whole_archive(tmp_path, **{IDS[1]: content}), folder)


def test_decoded_masks_keep_rows_and_columns() -> None:
    mask = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert (decode_mask(mat_file(mask)) == mask).all()
