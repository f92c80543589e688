"""`harness leaderboard`: the table of all finished runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InputError, nearest
from harness.verbs.terminal import WorkDir, console, require_folder_of, warn

if TYPE_CHECKING:
    from leaderboard.board import Board


class Format(StrEnum):
    """What `harness leaderboard` writes."""

    MD = "md"
    CSV = "csv"
    TEX = "tex"
    JSON = "json"
    HTML = "html"


def leaderboard(
    work_dir: WorkDir = Path("work"),
    format_: Annotated[
        Format,
        typer.Option("--format", help="Markdown, CSV (a row per number), LaTeX, JSON, or a site for --out."),
    ] = Format.MD,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Add all published results (md, csv, tex; others have them).")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="File to write instead of standard output (not for html).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write the site to (html).")] = None,
) -> None:
    """Print the leaderboard of all finished runs, or make a site of it."""
    from harness.record import read_records
    from leaderboard.aggregate import make_board

    if (out is None) == (format_ is Format.HTML) or (output is not None and format_ is Format.HTML):
        raise InputError(
            "--format html writes a folder, --out DIR; the other formats write a file, --output FILE"
        )
    records = read_records(work_dir, warn)
    board = make_board(records)
    if dataset is not None:
        names = [table.dataset for table in board.datasets]
        if dataset not in names:
            raise InputError(
                f"no finished run in {work_dir} is on a dataset '{dataset}'{nearest(dataset, names)}: "
                f"there is {', '.join(names)}"
            )
        board = board.only(dataset)
        records = [record for record in records if record.dataset.name == dataset]
    if out is not None:
        from leaderboard.site import write_site

        write_site(board, records, work_dir, out, warn)
        console().print(f"site: {out / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
        return
    _write(_render(board, format_, published=published), output)


def _render(board: Board, format_: Format, *, published: bool) -> str:
    if format_ is Format.CSV:
        from leaderboard.flat import render_csv

        return render_csv(board, published=published)
    if format_ is Format.TEX:
        from leaderboard.latex import render_latex

        return render_latex(board, published=published)
    if format_ is Format.JSON:
        return board.model_dump_json(indent=1) + "\n"
    from leaderboard.markdown import render_markdown

    return render_markdown(board, published=published)


def _write(text: str, output: Path | None) -> None:
    from harness.files import atomic_file

    if output is None:
        sys.stdout.write(text)
        return
    require_folder_of(output)
    with atomic_file(output, "w") as file:
        file.write(text)


def show_leaderboard(work_dir: Path, dataset: str, current: str | None = None) -> None:
    """Print the table of a dataset's finished runs, and where their records are.

    Args:
        work_dir: the work folder.
        dataset: whose table to print.
        current: id of the run that has just ended, to point at.
    """
    from harness.record import read_records
    from leaderboard.aggregate import make_board
    from leaderboard.table import terminal_table

    terminal = console()
    board = make_board(read_records(work_dir, warn)).only(dataset)
    for table in board.datasets:
        if table.entries:
            terminal.print(terminal_table(table, current))
    terminal.print(f"records: {work_dir / 'runs'}", markup=False, highlight=False, soft_wrap=True)
