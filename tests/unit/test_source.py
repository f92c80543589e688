"""Content hashes of source trees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.source import source_hash


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "one" / "ops"
    (tree / "deep").mkdir(parents=True)
    (tree / "crf.py").write_text("a = 1\n")
    (tree / "deep" / "walk.yaml").write_text("b: 2\n")
    return tree


def test_the_same_content_elsewhere_has_the_same_hash(tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "two" / "ops"
    shutil.copytree(tree, elsewhere)
    assert source_hash([elsewhere]) == source_hash([tree])


def test_caches_and_hidden_files_do_not_count(tree: Path) -> None:
    before = source_hash([tree])
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "crf.cpython-311.pyc").write_bytes(b"x")
    (tree / ".crf.py.swp").write_bytes(b"x")
    assert source_hash([tree]) == before


def test_content_names_and_new_files_count(tree: Path) -> None:
    seen = {source_hash([tree])}
    (tree / "deep" / "walk.yaml").write_text("b: 3\n")
    seen.add(source_hash([tree]))
    (tree / "crf.py").rename(tree / "crf2.py")
    seen.add(source_hash([tree]))
    (tree / "deep" / "new.py").write_text("")
    seen.add(source_hash([tree]))
    assert len(seen) == 4


def test_order_of_the_paths_does_not_count(tree: Path) -> None:
    assert source_hash([tree / "crf.py", tree / "deep"]) == source_hash([tree / "deep", tree / "crf.py"])


def test_a_path_that_is_not_there_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        source_hash([tree, tree / "gone.py"])
