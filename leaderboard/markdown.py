"""The leaderboard as Markdown, for READMEs."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboard.board import Board, Column, DatasetBoard, Entry, published_column, sort_columns
from leaderboard.published import Paper
from leaderboard.wording import (
    difference_text,
    gibibytes,
    hours,
    paper_legend,
    paper_text,
    printed,
    rate,
    threshold_text,
    value_text,
    watt_hours,
)


def render_markdown(board: Board, *, published: bool = False) -> str:
    """Tables of numbers and costs per dataset that has runs.

    Args:
        board: the leaderboard.
        published: add all published results per dataset, of methods without runs too.
    """
    blocks: list[str] = []
    for table in board.datasets:
        if table.entries or published:
            blocks += _dataset(table, board.papers, published=published)
    return "\n\n".join(blocks or ["There are no finished runs yet."]) + "\n"


def _dataset(table: DatasetBoard, papers: dict[str, Paper], *, published: bool) -> list[str]:
    blocks = [f"## {table.dataset}"]
    if table.ranked:
        blocks += [
            "mIoU in percent, mean ± standard deviation over seeds; in brackets the paper's.",
            _numbers(table.ranked, table.columns, ranked=True),
            *paper_legend(table.ranked),
            _costs(table.ranked),
        ]
    if table.unranked:
        blocks += [
            f"### Not ranked on {table.dataset}",
            "Not full runs: shortened, overridden, on other data or from random weights.",
            _numbers(table.unranked, table.columns, ranked=False),
        ]
    if published and table.published:
        blocks += [f"### Published on {table.dataset}", _published(table, papers)]
    return blocks


def _numbers(entries: Sequence[Entry], columns: Sequence[Column], *, ranked: bool) -> str:
    shown = [
        column
        for column in columns
        if any(column.id in entry.cells or column.id in entry.papers for entry in entries)
    ]
    head = (["#"] if ranked else []) + ["method", "network", "seeds", *(column.label for column in shown)]
    rows = [
        ([str(entry.rank)] if ranked else [])
        + [entry.name, entry.network or "-", str(len(entry.runs))]
        + [_cell(entry, column.id) for column in shown]
        + [", ".join(entry.remarks) or "-"]
        for entry in entries
    ]
    return _table([*head, "notes" if ranked else "why"], rows, text={"method", "network", "notes", "why"})


def _cell(entry: Entry, column: str) -> str:
    cell, paper = entry.cells.get(column), entry.papers.get(column)
    text = "-"
    if cell is not None:
        text = f"**{value_text(cell)}**" if cell.best else value_text(cell)
        text = f"{text} {threshold_text(cell)}".rstrip()
    if paper is not None:
        difference = difference_text(cell.difference if cell else None)
        text += f" ({paper_text(paper)}" + (f", {difference})" if difference else ")")
    return text


def _costs(entries: Sequence[Entry]) -> str:
    head = ["method", "time", "GPU time", "train images/s", "infer images/s"]
    head += ["GPU memory", "host memory", "GPU energy", "on"]
    rows = [
        [
            entry.name,
            hours(entry.costs.seconds),
            hours(entry.costs.gpu_seconds),
            rate(entry.costs.train_images_per_second),
            rate(entry.costs.infer_images_per_second),
            gibibytes(entry.costs.gpu_memory_peak_bytes),
            gibibytes(entry.costs.host_memory_peak_bytes),
            watt_hours(entry.costs.gpu_energy_joules),
            entry.costs.hardware,
        ]
        for entry in entries
    ]
    return _table(head, rows, text={"method", "on"})


def _published(table: DatasetBoard, papers: dict[str, Paper]) -> str:
    columns = sort_columns(
        published_column(number) for result in table.published for number in result.numbers
    )
    head = ["method", "paper", "network", *(column.label for column in columns)]
    rows = []
    for result in table.published:
        values: dict[str, list[str]] = {}
        for number in result.numbers:
            values.setdefault(published_column(number).id, []).append(
                printed(number.value) + ("" if number.checked else "?")
            )
        paper = papers[result.paper]
        rows.append(
            [result.name, f"{paper.venue} {paper.year}", result.network or "-"]
            + [", ".join(values.get(column.id, ["-"])) for column in columns]
        )
    return _table(head, rows, text={"method", "paper", "network"})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], text: set[str]) -> str:
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---" if name in text else "---:" for name in head) + "|",
        *("| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows),
    ]
    return "\n".join(lines)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
