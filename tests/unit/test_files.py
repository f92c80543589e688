"""Files appear whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.files import atomic_file, canonical_json, file_sha256, write_json


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "model.pth"
    with atomic_file(path, durable=durable) as file:
        file.write(b"weights")
        assert not path.exists()
    assert path.read_bytes() == b"weights"
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_error_while_writing_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def killed_half_way() -> None:
        with atomic_file(path, "w") as file:
            file.write("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unserialisable_document_does_not_replace_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"state": "running"})
    with pytest.raises(TypeError):
        write_json(path, {"state": object()})
    assert '"running"' in path.read_text()


def test_the_order_of_keys_does_not_change_the_canonical_text() -> None:
    assert canonical_json({"b": (1, 2), "a": {"d": 0.1, "c": None}}) == '{"a":{"c":null,"d":0.1},"b":[1,2]}'
    assert canonical_json({"lr": 1}) != canonical_json({"lr": 1.0000001})


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"threshold": float("nan")})


def test_the_hash_is_that_of_the_content_over_chunk_borders(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one chunk of a mebibyte
    (tmp_path / "scores.npz").write_bytes(content)
    assert file_sha256(tmp_path / "scores.npz") == hashlib.sha256(content).hexdigest()
