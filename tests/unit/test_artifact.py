"""An artifact is there when its manifest is, and whole when its files are those of the manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness import artifact as artifact_module
from harness.artifact import MANIFEST, Artifact


@pytest.fixture
def unfinished(tmp_path: Path) -> Artifact:
    artifact = Artifact(tmp_path / "0123").open()
    (artifact.files / "a.npz").write_bytes(b"scores of a")
    (artifact.files / "deep").mkdir()
    (artifact.files / "deep" / "b.npz").write_bytes(b"scores of b")
    (artifact.state / "iter_4.pth").write_bytes(b"checkpoint")
    return artifact


@pytest.fixture
def finished(unfinished: Artifact) -> Artifact:
    unfinished.finish("scores", "cam_scores", "0123", {"images": 2})
    return reopened(unfinished)


def reopened(artifact: Artifact) -> Artifact:
    """What another process sees: nothing is remembered."""
    return Artifact(artifact.folder)


def flip_bit(path: Path, *, keep_time: bool = False) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    # A file system's clock may be too coarse to tell the two writes apart.
    later = status.st_mtime_ns + (0 if keep_time else 1_000_000)
    os.utime(path, ns=(status.st_atime_ns, later))


def test_a_finished_artifact_lists_every_file_and_drops_its_state(finished: Artifact) -> None:
    assert finished.complete
    assert finished.problem() is None
    assert set(finished.manifest.files) == {"a.npz", "deep/b.npz"}
    assert finished.manifest.files["a.npz"].bytes == len(b"scores of a")
    assert finished.manifest.meta == {"images": 2}
    assert not finished.state.exists()


def test_without_its_manifest_an_artifact_is_not_there(unfinished: Artifact) -> None:
    assert not unfinished.complete
    problem = unfinished.problem()
    assert problem is not None
    assert "no valid manifest" in problem


def test_killed_before_the_manifest_keeps_what_it_resumes_from(
    unfinished: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json = artifact_module.write_json

    def killed_at_manifest(path: Path, document: Any) -> None:
        if path.name == MANIFEST:
            raise KeyboardInterrupt
        write_json(path, document)

    monkeypatch.setattr(artifact_module, "write_json", killed_at_manifest)
    with pytest.raises(KeyboardInterrupt):
        unfinished.finish("scores", "cam_scores", "0123", {})
    assert not reopened(unfinished).complete
    assert (unfinished.state / "iter_4.pth").exists()


def test_a_torn_manifest_is_a_problem_and_no_crash(finished: Artifact) -> None:
    path = finished.folder / MANIFEST
    path.write_bytes(path.read_bytes()[:40])
    problem = reopened(finished).problem()
    assert problem is not None
    assert str(finished.folder) in problem


def test_half_written_files_of_killed_workers_are_no_part_of_it(unfinished: Artifact) -> None:
    leftover = unfinished.files / ".c.npz.x1.tmp"
    leftover.write_bytes(b"half")
    unfinished.finish("scores", "cam_scores", "0123", {})
    assert not leftover.exists()
    assert set(reopened(unfinished).manifest.files) == {"a.npz", "deep/b.npz"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"shorter"), "has 7 bytes instead of 11"),
        (flip_bit, "is not what was written"),
    ],
)
def test_damage_is_named_with_its_file(finished: Artifact, damage: Any, words: str) -> None:
    damage(finished.files / "a.npz")
    problem = finished.problem()
    assert problem is not None
    assert words in problem
    assert str(finished.files / "a.npz") in problem


def test_a_flipped_bit_that_left_size_and_time_alone_is_found_without_the_stamp(finished: Artifact) -> None:
    flip_bit(finished.files / "a.npz", keep_time=True)
    assert finished.problem() is None  # what the stamp trades for a second look that costs a stat per file
    (finished.folder / ".verified.json").unlink()
    assert "SHA-256 differs" in str(reopened(finished).problem())


def test_a_second_look_hashes_nothing_and_a_touched_file_alone(
    finished: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    file_sha256 = artifact_module.file_sha256

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(artifact_module, "file_sha256", counted)
    assert finished.problem() is None
    assert hashed == []
    os.utime(finished.files / "a.npz", ns=(1, 1))  # copied to another disk, say
    assert reopened(finished).problem() is None
    assert hashed == ["a.npz"]
    assert reopened(finished).problem() is None
    assert hashed == ["a.npz"]


@pytest.mark.parametrize("stamp", ["", "[]", '{"a.npz": "soon"}'])
def test_a_broken_stamp_costs_a_look_and_no_more(finished: Artifact, stamp: str) -> None:
    (finished.folder / ".verified.json").write_text(stamp)
    assert finished.problem() is None
    assert set(json.loads((finished.folder / ".verified.json").read_text())) == {"a.npz", "deep/b.npz"}


def test_discarding_removes_all_of_it_and_nothing_is_no_fault(finished: Artifact) -> None:
    finished.discard()
    assert not finished.folder.exists()
    finished.discard()
