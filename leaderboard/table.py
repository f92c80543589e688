"""The leaderboard in a terminal: one table for one dataset that fits into 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from leaderboard.board import Column, DatasetBoard, Entry
from leaderboard.wording import difference_text, footnote_sign, hours, paper_legend, paper_text, value_text


def terminal_table(board: DatasetBoard, current: str | None = None) -> Table:
    """A dataset's entries, the steps of the pipeline from left to right: seed → pseudo → seg → seg+CRF.

    The best number of each step is bold. What does not fit (other costs, thresholds, fixed thresholds, other
    splits) is in the other formats.

    Args:
        board: the dataset's entries.
        current: id of a run whose entry is pointed at.
    """
    columns = _steps(board)
    # One blank between columns: ± and published numbers need the rest of 80.
    table = Table(box=box.SIMPLE_HEAD, padding=0, title_justify="left", caption_justify="left")
    table.title = f"mIoU (%) on {board.dataset}"
    table.add_column("#", justify="right")
    table.add_column("method", overflow="fold")
    several = any(len(entry.runs) > 1 for entry in board.entries)
    if several:
        table.add_column("n", justify="right")
    for position, column in enumerate(columns):
        table.add_column(("→ " if position else "") + column.label, justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    footnotes: dict[tuple[str, ...], str] = {}
    for section in (board.ranked, board.unranked):
        for entry in section:
            cells = _row(entry, columns, current, footnotes)
            table.add_row(*cells[:2], *([str(len(entry.runs))] if several else []), *cells[2:])
            if any(column.id in entry.papers for column in columns):
                published = [_paper(entry, column.id) for column in columns]
                indent = Text("  published", style="dim")
                table.add_row("", indent, *([""] if several else []), *published, "")
        table.add_section()
    said = [f"{sign} {', '.join(texts)}" for texts, sign in footnotes.items()]
    if caption := said + paper_legend(board.ranked):
        table.caption = Text("\n".join(caption))
    return table


def _steps(board: DatasetBoard) -> list[Column]:
    """One column per number that anybody has: on the usual split, at the best threshold, if there is that."""
    steps: dict[str, Column] = {}
    for column in board.columns:
        if any(column.id in entry.cells for entry in board.entries):
            steps.setdefault(column.number, column)
    return list(steps.values())


def _row(
    entry: Entry,
    columns: Sequence[Column],
    current: str | None,
    footnotes: dict[tuple[str, ...], str],
) -> list[str | Text]:
    """Cells of an entry, without the number of runs; what is to be said of it goes into `footnotes`."""
    here = any(run.run_id == current for run in entry.runs)
    name = Text(("▸ " if here else "") + entry.name, style="bold" if here else "")
    if entry.remarks:
        sign = footnotes.setdefault(entry.remarks, f"[{footnote_sign(len(footnotes))}]")
        name.append(f" {sign}", style="not bold dim")
    return [
        "-" if entry.rank is None else str(entry.rank),
        name,
        *(_cell(entry, column.id) for column in columns),
        hours(entry.costs.seconds),
    ]


def _cell(entry: Entry, column: str) -> Text:
    cell = entry.cells.get(column)
    if cell is None:
        return Text("-", style="dim")
    return Text(value_text(cell), style="bold" if cell.best else "")


def _paper(entry: Entry, column: str) -> Text:
    value = entry.papers.get(column)
    if value is None:
        return Text("")
    cell = entry.cells.get(column)
    difference = difference_text(cell.difference if cell else None)
    return Text(paper_text(value) + (f" ({difference})" if difference else ""), style="dim")
