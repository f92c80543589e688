"""How a dataset is made: the steps of a recipe, and what they are told and return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.data.archive import OnBytes

NOTES = ".prepared"  # folder of the notes about finished steps
Files = dict[str, int]
"""Bytes of files by their path in the dataset's folder."""

OnProgress = Callable[[int, int, str], None]
"""Called with what is done, the total and the unit."""

_MB = 1_000_000


@dataclass(frozen=True)
class Job:
    """What a step works with.

    Attributes:
        folder: the dataset's own folder.
        archives: files of the archives that the step asked for.
        keep: files that are there were made by this step before and are whole.
        workers: processes for work on the CPU.
        progress: to be told how far the step is.
    """

    folder: Path
    archives: Mapping[str, Path]
    keep: bool
    workers: int
    progress: OnProgress

    def unpacking(self) -> OnBytes:
        """Return a callback that passes bytes on as megabytes."""
        return lambda done, total: self.progress(done // _MB, total // _MB, "MB")


@dataclass(frozen=True)
class Step:
    """One thing to make.

    Attributes:
        name: of its note.
        title: what the user reads.
        run: makes the files and returns them; derives the same bytes from the same archives.
        rule: version of `run`: raise it with every change to what it makes.
        archives: what it reads, by their names in `official_archives.yaml`.
        growth: bytes that it needs on the disk per byte of its archives, about.
        adopt: finds the step's files where somebody else has put them; None if they are not all there.
        by_hand: leave the step out while its archive, which cannot be downloaded, is not there.
    """

    name: str
    title: str
    run: Callable[[Job], Files]
    rule: int = 1
    archives: tuple[str, ...] = ()
    growth: float = 0.0
    adopt: Callable[[Path], Files | None] | None = None
    by_hand: bool = False


@dataclass(frozen=True)
class SplitRow:
    """A split as it is now: number of images and masks, and whether its list is the literature's."""

    split: str
    images: int
    masks: int
    official: bool


@dataclass(frozen=True)
class Recipe:
    """How a dataset is made.

    Attributes:
        folder: the dataset's own folder for the root that a user names.
        steps: in order.
        rows: what is there when all is done.
    """

    folder: Callable[[Path], Path]
    steps: tuple[Step, ...]
    rows: Callable[[Path], list[SplitRow]]


class Reporter(Protocol):
    """Who tells the user."""

    def say(self, text: str) -> None: ...
    def plan(self, names: Sequence[str]) -> None: ...
    def begin(self, name: str, what: str) -> None: ...
    def progress(self, done: int, total: int, unit: str) -> None: ...
    def end(self, outcome: str) -> None: ...


@dataclass
class Prepared:
    """What a preparation left.

    Attributes:
        folder: the dataset's own folder.
        rows: its splits.
        archives: downloads that are kept and no longer needed.
        left_out: sentences on what could not be made for want of an archive.
    """

    folder: Path
    rows: list[SplitRow]
    archives: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
