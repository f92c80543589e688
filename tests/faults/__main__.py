"""`python -m tests.faults`: a table of faults and what came of them; status 1 if anything was lost."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from harness.data.shapes import generate_shapes
from tests.faults.campaign import Count, all_faults
from tests.faults.pipeline import Whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of times")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    console, began = Console(width=110), time.monotonic()
    found: dict[str, Count | str] = {}
    with tempfile.TemporaryDirectory(prefix="wsss-faults-") as name:
        folder = Path(name)
        generate_shapes(folder / "data", train=16, train_aug=24, val=12, workers=1)
        whole = Whole.run(folder / "data", folder / "whole")
        for fault, count in all_faults(whole, folder, chosen.scale, chosen.seed):
            found[fault] = count
            console.print(f"{fault}: {count if isinstance(count, str) else f'{count.equal}/{count.times}'}")
    console.print(table(found))
    for fault, count in found.items():
        for text in [] if isinstance(count, str) else count.faults[:5]:
            console.print(f"{fault}, {text}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{time.monotonic() - began:.0f} s")
    return 1 if any(isinstance(count, Count) and count.faults for count in found.values()) else 0


def table(found: dict[str, Count | str]) -> Table:
    """Faults by what came of them."""
    shown = Table(
        "fault", "times", "hit or noticed", "ended equal", "lost", title="faults by what came of them"
    )
    for fault, count in found.items():
        if isinstance(count, str):
            shown.add_row(fault, "-", "-", "-", count)
        else:
            shown.add_row(
                fault, *(str(n) for n in (count.times, count.noticed, count.equal, len(count.faults)))
            )
    return shown


if __name__ == "__main__":
    sys.exit(main())
