"""The leaderboard as LaTeX tables with booktabs, for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from leaderboard.board import (
    PRIMARY_SPLIT,
    Board,
    Cell,
    Column,
    DatasetBoard,
    Entry,
    published_column,
    sort_columns,
)
from leaderboard.published import Paper
from leaderboard.wording import paper_legend, paper_text, printed, value_text

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
}


@dataclass(frozen=True)
class _CostColumn:
    """The last column: time on GPUs where there were any, else time, in a unit that suits the longest run."""

    gpu: bool
    unit: Literal["h", "min"]

    @property
    def label(self) -> str:
        return f"GPU {self.unit}" if self.gpu else f"Time ({self.unit})"

    def text(self, entry: Entry) -> str:
        seconds = entry.costs.gpu_seconds if self.gpu else entry.costs.seconds
        return "--" if seconds is None else f"{seconds / {'h': 3600, 'min': 60}[self.unit]:.1f}"


def escape(text: str) -> str:
    """Text that LaTeX sets as it is written."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def render_latex(board: Board, *, published: bool = False) -> str:
    """A `table*` per dataset, as wide as a page has to be; the best full run of each column is bold.

    Args:
        board: the leaderboard.
        published: add the rows of all published results.
    """
    tables = [
        _table(table, board.papers if published else {})
        for table in board.datasets
        if table.entries or (published and table.published)
    ]
    return "\n".join(["% needs \\usepackage{booktabs}", *tables]) + "\n"


def _table(table: DatasetBoard, papers: Mapping[str, Paper]) -> str:
    """A dataset's table, with the published results where their papers are given."""
    columns = _columns(table, published=bool(papers))
    cost = _cost_column(table.entries)
    beside = {column.id for column in columns if any(column.id in entry.papers for entry in table.ranked)}
    width = 3 + sum(1 + (column.id in beside) for column in columns)
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{_caption(table)}}}",
        rf"\label{{tab:leaderboard-{escape(table.dataset)}}}",
        rf"\begin{{tabular}}{{@{{}}lr{''.join('rr' if c.id in beside else 'r' for c in columns)}r@{{}}}}",
        r"\toprule",
        *_head(columns, beside, cost.label),
    ]
    for title, rows in (
        ("", [_row(entry, columns, beside, cost) for entry in table.ranked]),
        ("Not full runs", [_row(entry, columns, beside, cost) for entry in table.unranked]),
        ("Published", _published(table, columns, beside, papers) if papers else []),
    ):
        if rows:
            lines.append(r"\midrule")
            if title:
                lines.append(rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{{title}}}}} \\")
            lines += rows
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"])


def _columns(table: DatasetBoard, *, published: bool) -> list[Column]:
    """Columns on the usual splits; the others are in the other formats."""
    theirs = (published_column(number) for result in table.published for number in result.numbers)
    found = sort_columns([*table.columns, *(theirs if published else ())])
    return [column for column in found if column.split == PRIMARY_SPLIT[column.number]]


def _caption(table: DatasetBoard) -> str:
    several = any(len(entry.runs) > 1 for entry in table.entries)
    over = ", mean $\\pm$ standard deviation over $n$ seeds" if several else ""
    legend = "".join(f" {escape(text)}." for text in paper_legend(table.ranked))
    return f"mIoU (\\%) on {escape(table.dataset)}{over}; the best in bold.{legend}"


def _head(columns: Sequence[Column], beside: set[str], cost: str) -> list[str]:
    """One line, or two where published numbers stand beside ours."""
    names = [
        rf"\multicolumn{{2}}{{c}}{{{escape(column.label)}}}" if column.id in beside else escape(column.label)
        for column in columns
    ]
    first = " & ".join(["Method", "$n$", *names, cost]) + r" \\"
    if not beside:
        return [first]
    rules, below, position = [], ["", ""], 3
    for column in columns:
        if column.id in beside:
            rules.append(rf"\cmidrule(lr){{{position}-{position + 1}}}")
            below += ["ours", "paper"]
        else:
            below.append("")
        position += 1 + (column.id in beside)
    return [first, "".join(rules), " & ".join([*below, ""]) + r" \\"]


def _row(entry: Entry, columns: Sequence[Column], beside: set[str], cost: _CostColumn) -> str:
    name = escape(entry.title)
    # What exactly was overridden is too long for a paper's table; the other formats have it.
    if remarks := entry.marks + entry.notes:
        name += rf" {{\scriptsize ({escape(', '.join(remarks))})}}"
    cells = [name, str(len(entry.runs))]
    for column in columns:
        cell, paper = entry.cells.get(column.id), entry.papers.get(column.id)
        cells.append(_value(cell))
        if column.id in beside:
            cells.append(escape(paper_text(paper)) if paper else "--")
    return " & ".join([*cells, cost.text(entry)]) + r" \\"


def _value(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    # Bold spans the deviation too, or the mean alone would look like part of another number.
    text = value_text(cell).replace("±", r"$\pm$")
    return rf"\textbf{{{text}}}" if cell.best else text


def _cost_column(entries: Sequence[Entry]) -> _CostColumn:
    gpu = any(entry.costs.gpu_seconds is not None for entry in entries)
    longest = max((entry.costs.seconds for entry in entries), default=0.0)
    return _CostColumn(gpu=gpu, unit="h" if longest >= 3600 else "min")


def _published(
    table: DatasetBoard, columns: Sequence[Column], beside: set[str], papers: Mapping[str, Paper]
) -> list[str]:
    """Rows of published results, their numbers where ours would be paper's."""
    rows = []
    for result in table.published:
        values = {published_column(number).id: number for number in result.numbers}
        paper = papers[result.paper]
        cells = [escape(result.name) + rf" {{\scriptsize ({escape(paper.venue)} {paper.year})}}", ""]
        for column in columns:
            number = values.get(column.id)
            text = "--" if number is None else printed(number.value) + ("" if number.checked else "?")
            cells += ["", text] if column.id in beside else [text]
        if any(column.id in values for column in columns):
            rows.append(" & ".join([*cells, ""]) + r" \\")
    return rows
