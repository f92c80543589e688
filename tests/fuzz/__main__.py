"""`python -m tests.fuzz --inputs 100000 --seed 0`: what became of the inputs; status 1 for a fault.

An input may be accepted or refused by `InputError` (or what the reader documents besides). Everything else is
a fault: another exception, more than ten seconds of a core or a minute by the clock, more than two GiB, code
that runs, a file elsewhere.
The seed and the number of an input make it again: `--only TARGET --number N`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from harness.errors import InputError
from tests.fuzz.guard import Guard
from tests.fuzz.mutations import SECRET
from tests.fuzz.targets import Target, targets

_SECONDS, _WAIT = 10, 60  # of a core, and by the clock: a loaded machine is no fault
_BYTES = 2 << 30
_SHOWN = 5  # faults per target that are printed


class TooLong(BaseException):
    """Raised in the middle of a reader; no reader can mistake it for a fault of its input."""


@dataclass
class Tally:
    """What became of the inputs of one target."""

    accepted: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a target's name")
    parser.add_argument("--number", type=int, help="this input alone; needs --only")
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="wsss-fuzz-") as folder:
        scratch, secret = Path(folder, "a", "b", "input"), Path(folder, "a", "b", SECRET)
        for path in (scratch, secret.parent):
            path.mkdir(parents=True)
        secret.write_text("not to be read")
        guard = Guard(scratch, secret.parent)
        space = psutil.Process().memory_info().vms + _BYTES
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        os.chdir(scratch)
        found = {}
        began = time.monotonic()
        for target in targets():
            if chosen.only in (None, target.name):
                numbers = range(max(chosen.inputs * target.share // 1000, 1))
                if chosen.number is not None:
                    numbers = range(chosen.number, chosen.number + 1)
                found[target.name] = campaign(target, numbers, chosen.seed, scratch, guard)
        os.chdir("/")
    report(found, time.monotonic() - began)
    return 1 if any(tally.faults for tally in found.values()) else 0


def campaign(target: Target, numbers: range, seed: int, scratch: Path, guard: Guard) -> Tally:
    """Give a target its inputs."""
    tally = Tally()
    for number in numbers:
        content = target.make(random.Random(zlib.crc32(f"{target.name} {seed} {number}".encode())))
        path = scratch / f"input{target.suffix}"
        path.write_bytes(content)
        fault = attempt(target, path, tally, guard)
        if fault:
            tally.faults.append(f"number {number}: {fault}")
        for rest in scratch.iterdir():
            if rest.is_dir() and not rest.is_symlink():
                shutil.rmtree(rest)
            else:
                rest.unlink()
    return tally


def attempt(target: Target, path: Path, tally: Tally, guard: Guard) -> str:
    """Read one input; says what was wrong with how it went, or nothing."""
    fault = ""
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    signal.alarm(_WAIT)
    try:
        with guard.armed():
            target.read(path)
        tally.accepted += 1
    except TooLong:
        fault = f"took more than {_SECONDS} s of a core or {_WAIT} s"
    except InputError as error:
        tally.refused += 1
        if "\n" in str(error).strip():
            fault = f"a refusal of several lines: {error}"
    except target.refusals:
        tally.refused += 1
    except Exception as error:
        with suppress(IndexError):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    if guard.violations:
        fault = "; ".join(guard.violations)
        guard.violations.clear()
    return fault


def _stop(number: int, frame: object) -> None:
    raise TooLong


def report(found: dict[str, Tally], seconds: float) -> None:
    """Print the table, then the first faults of each target."""
    table = Table("input", "accepted", "refused", "faults", title="inputs by what became of them")
    for name, tally in found.items():
        table.add_row(name, *(f"{n:,}" for n in (tally.accepted, tally.refused, len(tally.faults))))
    total = [sum(t.accepted for t in found.values()), sum(t.refused for t in found.values())]
    faults = sum(len(t.faults) for t in found.values())
    table.add_row("all", *(f"{n:,}" for n in (*total, faults)))
    console = Console(width=110)
    console.print(table)
    for name, tally in found.items():
        for fault in tally.faults[:_SHOWN]:
            console.print(f"{name}, {fault}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{sum(total) + faults:,} inputs in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
