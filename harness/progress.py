"""Progress of a stage, written by its process and read by whoever watches."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_MIN_INTERVAL = 0.2  # seconds between two writes


@dataclass(frozen=True)
class Progress:
    """How far a stage is.

    Attributes:
        done, total: in `unit`s; `total` 0 means not known yet.
        start: units that were done when the process started (resumed work does not count for the ETA).
        started: time.time() of the first of this process's units.
        spent: seconds that all processes which worked on the stage have spent, killed ones included.
        note: a few words such as the current loss.
    """

    done: int
    total: int
    unit: str
    start: int
    started: float
    spent: float = 0.0
    note: str = ""

    @property
    def eta(self) -> float | None:
        """Seconds to go at the mean pace of this process so far."""
        fresh = self.done - self.start
        if fresh <= 0 or not self.total:
            return None
        return (time.time() - self.started) / fresh * (self.total - self.done)


class ProgressWriter:
    """Writes `progress.json` of a stage folder a few times a second at most."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "progress.json"
        self._last = 0.0
        self._start = 0
        self._total = 0
        self._unit = ""
        self._began = self._created = time.time()
        previous = read_progress(folder)
        self._spent_before = previous.spent if previous else 0.0

    @property
    def spent(self) -> float:
        """Seconds that this process and killed predecessors have spent on the stage."""
        return self._spent_before + time.time() - self._created

    def begin(self, total: int, unit: str, done: int = 0) -> None:
        """Say what is counted, how much there is and how much was done before."""
        self._total, self._unit, self._start = total, unit, done
        self._began = time.time()
        self._write(done, "")

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` units are done; cheap enough for every iteration."""
        if time.monotonic() - self._last >= _MIN_INTERVAL or done >= self._total:
            self._write(done, note)

    def _write(self, done: int, note: str) -> None:
        self._last = time.monotonic()
        state = Progress(done, self._total, self._unit, self._start, self._began, self.spent, note)
        partial = self._path.with_suffix(".tmp")
        partial.write_text(json.dumps(asdict(state)), encoding="utf-8")
        partial.replace(self._path)


def read_progress(folder: Path) -> Progress | None:
    """The last progress that a stage wrote, or None before the first."""
    try:
        return Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # not there yet
        return None
