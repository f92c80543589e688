"""Files of a stage that makes one file per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.files import atomic_file
from harness.npz import read_npz
from harness.stage import StageContext
from harness.stages.team import Team


class TeamProgress:
    """Progress over the images of a stage, which processes may share.

    Args:
        context: of the stage.
        team: the processes.
        own: images of this process.
        done: those of them that were done before.
    """

    def __init__(self, context: StageContext, team: Team, own: int, done: int) -> None:
        self._progress, self._team = context.progress, team
        self._own, self._done, self._before = own, done, 0

    def begin(self, images: int, before: int) -> None:
        """Say how many images there are and how many were done before, over all processes."""
        if self._team.leads:
            self._before = before
            self._progress.begin(images, "images", before)
        else:
            self._progress.begin(self._own, "images", self._done)

    def add(self) -> None:
        """One more image is done."""
        self._done += 1
        self.show()

    def show(self) -> None:
        """Say how many images are done; helpers that have not begun have not counted theirs yet."""
        self._progress.update(max(self._done + self._team.done(), self._before))


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
