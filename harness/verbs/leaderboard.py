"""`harness leaderboard`: the table of all finished runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.verbs.terminal import WorkDir, console, require_folder_of, warn


def leaderboard(
    work_dir: WorkDir = Path("work"),
    output: Annotated[Path | None, typer.Option(help="File to write instead of standard output.")] = None,
) -> None:
    """Print the leaderboard of all finished runs as Markdown."""
    from harness.files import atomic_file
    from harness.record import read_records
    from leaderboard.table import leaderboard_rows, render_markdown

    text = render_markdown(leaderboard_rows(read_records(work_dir, warn)))
    if output is None:
        sys.stdout.write(text)
        return
    require_folder_of(output)
    with atomic_file(output, "w") as file:
        file.write(text)


def show_leaderboard(work_dir: Path, dataset: str) -> None:
    """Print the table of a dataset's finished runs, and where their records are."""
    from harness.record import read_records
    from leaderboard.table import leaderboard_rows, render_terminal

    terminal = console()
    records = [record for record in read_records(work_dir, warn) if record.dataset.name == dataset]
    if rows := leaderboard_rows(records):
        terminal.print(render_terminal(rows, f"mIoU (%) on {dataset}"))
    terminal.print(f"records: {work_dir / 'runs'}", markup=False, highlight=False, soft_wrap=True)
