"""`harness show`: what there is to know of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs.terminal import WorkDir, console


def show(
    run: Annotated[
        str, typer.Argument(help="A run: its id, the beginning of it, its folder or record.json.")
    ],
    work_dir: WorkDir = Path("work"),
    prompts: Annotated[
        bool,
        typer.Option("--prompts", help="Show the prompts that the run learned, by their nearest tokens."),
    ] = False,
) -> None:
    """Show a run: state, stages, numbers with their protocol, classes, costs, logs."""
    from leaderboard.prompts_view import prompts_view
    from leaderboard.run_view import run_view
    from leaderboard.runs import find_run

    console().print((prompts_view if prompts else run_view)(find_run(run, work_dir)))
