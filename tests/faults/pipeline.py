"""A small pipeline of every kind of stage, each executed in a process of its own that a fault can hit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.files import write_json
from harness.report import read_report
from harness.stage import main
from tests.tiny_stages import CAMS, TRAIN, request

REFINE: dict[str, Any] = {
    "type": "refine",
    "split": "train",
    "scores": "scores",
    "refiner": {"type": "CAMDenseCRF", "background": 0.3, "crf": {"iterations": 1}},
}
EVALUATE: dict[str, Any] = {
    "type": "evaluate",
    "split": "train",
    "scores": "scores",
    "number": "seed",
    "threshold": 0.3,
    "sweep": {"start": 0.1, "stop": 0.5, "step": 0.1},
}
STAGES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "train": (TRAIN, {}),
    "infer": ({**CAMS, "checkpoint": "train"}, {"checkpoint": "train"}),
    "refine": (REFINE, {"scores": "infer"}),
    "evaluate": (EVALUATE, {"scores": "infer"}),
}
Change = Callable[[], None]


@dataclass
class Whole:
    """An undisturbed run: what every disturbed one must end in.

    Attributes:
        root: the dataset.
        folder: holds an artifact folder per stage.
        seconds: how long each stage takes.
    """

    root: Path
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What the last attempt printed."""
        return self.folder.with_name("last.log")

    @classmethod
    def run(cls, root: Path, folder: Path) -> Whole:
        """Run all stages without a fault.

        Raises:
            AssertionError: one does not end well.
        """
        whole = cls(root, folder)
        for name in STAGES:
            status = whole.execute(name, folder / name)  # in this process: its children have the imports
            assert status == 0, f"the undisturbed stage '{name}' ended with status {status}"
        for name in STAGES:
            began = time.monotonic()
            whole.attempt(name, folder.with_name("timed") / name)
            whole.seconds[name] = time.monotonic() - began
        return whole

    def execute(self, name: str, folder: Path) -> int:
        """Execute a stage in this process; returns the exit status."""
        config, inputs = STAGES[name]
        paths = {role: self.folder / source for role, source in inputs.items()}
        asked = request(self.root, config, name, key="0" * 32, inputs=paths)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "stage.json", asked.model_dump(mode="json"))
        return main([str(folder / "stage.json")])

    def attempt(
        self, name: str, folder: Path, *, kill_after: float | None = None, change: Change | None = None
    ) -> int:
        """Execute a stage in a child process; returns its exit status, negative for a signal.

        Args:
            name: in `STAGES`.
            folder: its artifact; what a killed one left there is resumed.
            kill_after: seconds until SIGKILL hits it and all that it started.
            change: called in the child before the stage.
        """
        self.log.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = self._work(name, folder, change)
            finally:
                os._exit(status)  # whatever happened: the rest of this program is the parent's
        if kill_after is not None:
            began = time.monotonic()
            while time.monotonic() < began + kill_after:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:  # before the kill: stages are faster than they were when they were timed
                    self.seconds[name] = min(self.seconds[name], time.monotonic() - began)
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.001)
            for kill in (os.killpg, os.kill):  # before it has a group of its own
                try:
                    kill(child, signal.SIGKILL)
                    break
                except ProcessLookupError:
                    continue
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _work(self, name: str, folder: Path, change: Change | None) -> int:
        """In the child: what the stage process does."""
        os.setsid()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            if change is not None:
                change()
            return self.execute(name, folder)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 1

    def difference(self, name: str, folder: Path) -> str:
        """What a finished stage holds otherwise than the undisturbed one; nothing if it is equal."""
        mine, theirs = Artifact(folder), Artifact(self.folder / name)
        if problem := mine.problem():
            return problem
        for file in sorted(mine.manifest.files.keys() | theirs.manifest.files.keys()):
            if "tensorboard" in file or file.startswith("examples/"):  # times are in the one, names in both
                continue
            one, two = mine.manifest.files.get(file), theirs.manifest.files.get(file)
            if one is None or two is None or one.sha256 != two.sha256:
                return f"{file} differs"
        numbers = [[m.value for m in read_report(place).metrics] for place in (folder, self.folder / name)]
        return "" if numbers[0] == numbers[1] else f"its numbers are {numbers[0]} instead of {numbers[1]}"


def finished_files(folder: Path) -> Mapping[str, int]:
    """Files of a stage that have their names, with their times of change."""
    files = folder / "files"
    if not files.is_dir():
        return {}
    kept = (path for path in files.iterdir() if path.suffix in (".npz", ".png"))
    return {path.name: path.stat().st_mtime_ns for path in kept if not path.name.startswith(".")}


def fresh(folder: Path) -> Path:
    """An empty place for a stage."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def moment(seconds: float, rng: random.Random) -> float:
    """A moment in the life of a stage, sometimes a little after it."""
    return rng.uniform(0.0, 1.1 * seconds)
