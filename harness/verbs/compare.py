"""`harness compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.verbs.terminal import WorkDir, console


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two or more runs: ids, beginnings of ids, folders or record.json.")
    ],
    work_dir: WorkDir = Path("work"),
) -> None:
    """Compare runs with the first one: numbers, classes, costs, origin and config."""
    from leaderboard import comparison
    from leaderboard.comparison_view import comparison_view
    from leaderboard.runs import find_run

    if len(runs) < 2:
        raise InputError(f"one run, {runs[0]}, cannot be compared: name a second one, or use harness show")
    records = [find_run(name, work_dir).record for name in runs]
    console().print(comparison_view(comparison.compare(records)))
