"""The faults of single stages: each is done so many times, and what came of it is counted."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tests.faults.pipeline as pipeline
from harness.artifact import MANIFEST, REPORT, Artifact
from tests.faults.pipeline import STAGES, Whole, finished_files, fresh, moment

_DAY = 86_400.0


@dataclass
class Count:
    """What became of the times that a fault was tried.

    Attributes:
        times: how often.
        noticed: the fault hit before the end, or was found afterwards.
        equal: the stage ended, then or when it was run again, in what an undisturbed one holds.
        faults: what was wrong otherwise.
    """

    times: int = 0
    noticed: int = 0
    equal: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, noticed: bool, difference: str) -> None:
        self.times += 1
        self.noticed += noticed
        if difference:
            self.faults.append(difference)
        else:
            self.equal += 1


Fault = Callable[[Whole, str, Path, random.Random], tuple[bool, str]]


def killed(whole: Whole, stage: str, folder: Path, rng: random.Random, kills: int = 1) -> tuple[bool, str]:
    """SIGKILL at random moments, then once more without."""
    hit = False
    for _ in range(kills):
        before = finished_files(folder)
        status = whole.attempt(stage, folder, kill_after=moment(whole.seconds[stage], rng))
        hit |= status < 0
        artifact = Artifact(folder)
        if artifact.complete and (problem := artifact.problem()):
            return hit, f"a manifest was there, but {problem}"
        if artifact.complete:  # the harness does not make it again
            break
        after = finished_files(folder)
        if any(after.get(name) != time for name, time in before.items()):
            return hit, "a finished file was made again"
    if not Artifact(folder).complete:
        status = whole.attempt(stage, folder)
        if status != 0:
            return hit, f"the stage ended with status {status} after a kill"
    return hit, whole.difference(stage, folder)


def flipped(whole: Whole, stage: str, folder: Path, rng: random.Random) -> tuple[bool, str]:
    """A bit flips in a file of a finished artifact, its manifest and its report included."""
    status = whole.attempt(stage, folder)
    names = [f"files/{name}" for name in Artifact(folder).manifest.files]
    path = folder / rng.choice((MANIFEST, REPORT, *names)) if status == 0 else folder
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    time.sleep(0.002)  # a change of the disk's own would not change the time; a look at all bytes finds it
    (folder / ".verified.json").unlink()
    path.write_bytes(content)
    noticed = Artifact(folder).problem() is not None
    if not noticed:  # then it may not matter: spaces of a manifest
        return False, whole.difference(stage, folder)
    Artifact(folder).discard()
    status = whole.attempt(stage, folder)
    return True, whole.difference(stage, folder) or ("" if status == 0 else f"status {status}")


def clocks(whole: Whole, stage: str, folder: Path, rng: random.Random) -> tuple[bool, str]:
    """The clock jumps by up to a day, back and forth, each time that somebody looks at it."""

    def change() -> None:
        right = time.time
        time.time = lambda: right() + rng.uniform(-_DAY, _DAY)

    status = whole.attempt(stage, folder, change=change)
    return True, whole.difference(stage, folder) if status == 0 else f"the stage ended with status {status}"


def not_a_number(whole: Whole, stage: str, folder: Path, rng: random.Random) -> tuple[bool, str]:
    """The loss is not a number; the training stops there, and goes on from the last good point."""
    iteration = rng.randrange(1, 7)

    def change() -> None:
        config, inputs = STAGES["train"]
        pipeline.STAGES["train"] = ({**config, "model": {**config["model"], "nan_at": iteration}}, inputs)

    status = whole.attempt("train", folder, change=change)
    log = whole.log.read_text()
    if status == 0 or f"the loss is nan at iteration {iteration}" not in log:
        return False, f"status {status}, and the log does not name iteration {iteration}"
    points = [path.name for path in (folder / "state").glob("iter_*.pth")]
    good = (iteration - 1) // 2 * 2  # a point every second iteration
    if points != ([f"iter_{good}.pth"] if good else []):
        return True, f"the points of resumption are {points} after iteration {iteration}"
    status = whole.attempt("train", folder)
    return True, whole.difference("train", folder) or ("" if status == 0 else f"status {status}")


def full_disk(whole: Whole, stage: str, folder: Path, rng: random.Random, disk: Path) -> tuple[bool, str]:
    """The disk is full at some point; there is space again afterwards."""
    place = _emptied(disk) / stage
    _remount(disk, f"size={rng.randrange(8, 200)}k")
    status = whole.attempt(stage, place)
    hit = status != 0
    complete = Artifact(place).complete and Artifact(place).problem()
    _remount(disk, "size=64m")
    if complete:
        return hit, f"a manifest was there, but {complete}"
    if hit and status != 2:
        return hit, f"the stage ended with status {status} on a full disk: {_end_of_log(whole.log)}"
    if hit:
        status = whole.attempt(stage, place)
    return hit, whole.difference(stage, place) if status == 0 else f"status {status} when there was space"


def read_only(whole: Whole, stage: str, folder: Path, rng: random.Random, disk: Path) -> tuple[bool, str]:
    """The disk becomes read-only while the stage runs, and writable again."""
    place = fresh(disk / stage)
    place.mkdir()
    script = f"sleep {moment(whole.seconds[stage], rng):.3f}; mount -o remount,ro {disk}"
    with subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL):  # waits for its end, too
        status = whole.attempt(stage, place)
    _make_writable(disk)
    hit = status != 0
    artifact = Artifact(place)
    if artifact.complete and (problem := artifact.problem()):
        return hit, f"a manifest was there, but {problem}"
    if not artifact.complete:
        status = whole.attempt(stage, place)
        if status != 0:
            return hit, f"status {status} when it was writable again: {_end_of_log(whole.log)}"
    return hit, whole.difference(stage, place)


def _emptied(disk: Path) -> Path:
    for path in disk.iterdir():
        fresh(path) if path.is_dir() else path.unlink(missing_ok=True)
    return disk


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True, capture_output=True)


def _make_writable(disk: Path) -> None:
    """Mount it for writing again; right after the other change that may not take effect at once."""
    for _ in range(100):
        _remount(disk, "rw")
        try:
            (disk / "probe").touch()
            (disk / "probe").unlink()
        except OSError:
            time.sleep(0.05)
            continue
        return
    raise AssertionError(f"{disk} stays read-only")


def _end_of_log(log: Path) -> str:
    return log.read_text().strip().splitlines()[-1] if log.is_file() and log.stat().st_size else "no log"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own in memory; None where it cannot be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def repeat(fault: Fault, whole: Whole, stages: list[str], times: int, folder: Path, seed: int) -> Count:
    """Do a fault so many times to each of some stages."""
    count = Count()
    for stage in stages:
        for number in range(times):
            rng = random.Random(f"{seed} {fault} {stage} {number}".split(" at 0x")[0])
            place = fresh(folder / stage)
            noticed, difference = fault(whole, stage, place, rng)
            count.add(noticed, f"{stage} {number}: {difference}" if difference else "")
            fresh(place)
    return count


def all_faults(whole: Whole, folder: Path, scale: float, seed: int) -> Iterator[tuple[str, Count | str]]:
    """Every fault of a stage, with its count, or why it cannot be tried here.

    Args:
        scale: 1 for the full campaign.
    """

    def times(full: int) -> int:
        return max(round(full * scale), 1)

    every = list(STAGES)
    plan: list[tuple[str, Fault, list[str], int]] = [
        ("SIGKILL at a random moment", killed, every, times(15)),
        ("SIGKILL four times in a row", partial(killed, kills=4), every, times(3)),
        ("a bit flips in an artifact", flipped, every, times(10)),
        ("the clock jumps", clocks, every, times(2)),
        ("the loss is not a number", not_a_number, ["train"], times(5)),
    ]
    for name, fault, stages, number in plan:
        yield name, repeat(fault, whole, stages, number, folder / "stages", seed)
    for name, disk_fault in (("the disk is full", full_disk), ("the disk becomes read-only", read_only)):
        with small_disk(folder / name.replace(" ", "-")) as disk:
            if disk is None:
                yield name, "needs the right to mount a file system"
                continue
            on_disk: Any = partial(disk_fault, disk=disk)
            yield name, repeat(on_disk, whole, every, times(4), folder / "stages", seed)
