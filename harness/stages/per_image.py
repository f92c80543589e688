"""Files of a stage that makes one file per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.files import atomic_file
from harness.npz import read_npz


def unfinished(ids: Sequence[str], folder: Path, suffix: str) -> list[str]:
    """Ids whose file is not there yet (a file that has its name is whole)."""
    there = {path.name for path in folder.iterdir()}
    return [image_id for image_id in ids if f"{image_id}{suffix}" not in there]


def save_scores(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Write the arrays of one image as an uncompressed `.npz`, atomically."""
    with atomic_file(path, durable=False) as file:
        np.savez(file, allow_pickle=False, **scores)


def load_scores(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of one image; pickled objects are refused.

    Raises:
        ValueError: not a file of plain arrays.
    """
    return read_npz(path)
