"""The leaderboard as LaTeX tables with booktabs, for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from leaderboard.wording import footnote_sign, paper_legend, paper_text, printed, value_text

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
        _DatasetTable(table, board.papers if published else {}).render()
        for table in board.datasets
        if table.entries or (published and table.published)
    ]
    return "\n".join(["% needs \\usepackage{booktabs}", *tables]) + "\n"


class _DatasetTable:
    """One dataset's table.

    A kind of number has a column for ours where any run has it, and one for the papers' beside that where any
    paper shown has it.

    Args:
        board: the dataset's entries.
        papers: of the published results, which are listed if their papers are given.
    """

    def __init__(self, board: DatasetBoard, papers: Mapping[str, Paper]) -> None:
        self._board, self._papers = board, papers
        self._footnotes: dict[tuple[str, ...], str] = {}
        self._several = any(len(entry.runs) > 1 for entry in board.entries)
        self._gpu = any(entry.costs.gpu_seconds is not None for entry in board.entries)
        longest = max((entry.costs.seconds for entry in board.entries), default=0.0)
        self._unit: Literal["h", "min"] = "h" if longest >= 3600 else "min"
        self._slots = [(column, paper) for column in self._columns() for paper in self._sides(column)]

    def render(self) -> str:
        """The `table*` environment."""
        board = self._board
        sections = (
            ("", [self._row(entry) for entry in board.ranked]),
            ("Not full runs", [self._row(entry) for entry in board.unranked]),
            ("Published", self._published_rows() if self._papers else []),
        )
        head = self._head()
        width = head[0].count("&") + 1 + sum(line.count("multicolumn{2}") for line in head[:1])
        lines = [
            r"\begin{table*}",
            # With all published results beside ours the table fills a page's width.
            r"\centering" + (r"\scriptsize" if self._papers else r"\footnotesize"),
            r"\setlength{\tabcolsep}{3pt}\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{self._caption()}}}",
            rf"\label{{tab:leaderboard-{escape(board.dataset)}}}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (width - 1)}@{{}}}}",
            r"\toprule",
            *head,
        ]
        for title, rows in sections:
            lines += [r"\midrule"] if rows else []
            if rows and title:
                lines.append(rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{{title}}}}} \\")
            lines += rows
        lines += [r"\bottomrule", r"\end{tabular}"]
        if self._footnotes:
            notes = [f"$^{{{sign}}}$ {escape(', '.join(why))}" for why, sign in self._footnotes.items()]
            lines.append(rf"\par\smallskip\scriptsize {'; '.join(notes)}")
        return "\n".join([*lines, r"\end{table*}"])

    def _columns(self) -> list[Column]:
        """Columns on the usual splits; the others are in the other formats."""
        results = self._board.published if self._papers else ()
        theirs = (published_column(number) for result in results for number in result.numbers)
        found = sort_columns([*self._board.columns, *theirs])
        return [column for column in found if column.split == PRIMARY_SPLIT[column.number]]

    def _sides(self, column: Column) -> list[bool]:
        """Whether there is a column for ours (False) and for the papers' (True)."""
        board = self._board
        beside = any(column.id in entry.papers for entry in board.ranked)
        listed = bool(self._papers) and any(
            published_column(number).id == column.id
            for result in board.published
            for number in result.numbers
        )
        ours = any(column.id in entry.cells for entry in board.entries)
        return [False] * ours + [True] * (beside or listed)

    def _caption(self) -> str:
        over = ", mean $\\pm$ standard deviation over $n$ seeds" if self._several else ""
        legend = "".join(f" {escape(text)}." for text in paper_legend(self._board.ranked))
        return f"mIoU (\\%) on {escape(self._board.dataset)}{over}; the best full run in bold.{legend}"

    def _head(self) -> list[str]:
        """One line, or two where published numbers stand beside ours."""
        above, below, rules = ["Method"], [""], []
        if self._several:
            above, below = [*above, "$n$"], [*below, ""]
        for column in dict.fromkeys(column for column, _ in self._slots):
            sides = [paper for other, paper in self._slots if other == column]
            if len(sides) == 2:
                rules.append(rf"\cmidrule(lr){{{len(below) + 1}-{len(below) + 2}}}")
            label = escape(column.label)
            above.append(label if len(sides) == 1 else rf"\multicolumn{{2}}{{c}}{{{label}}}")
            below += ["paper" if paper else "ours" if len(sides) == 2 else "" for paper in sides]
        if self._board.entries:
            above.append(f"GPU {self._unit}" if self._gpu else f"Time, {self._unit}")
            below.append("")
        lines = [_line(above)]
        return [*lines, "".join(rules), _line(below)] if rules else lines

    def _row(self, entry: Entry) -> str:
        name = escape(entry.title)
        # What exactly was overridden is too long for a paper's table; the other formats have it.
        if remarks := entry.marks + entry.notes:
            sign = self._footnotes.setdefault(remarks, footnote_sign(len(self._footnotes)))
            name += f"$^{{{sign}}}$"
        cells = [name, *([str(len(entry.runs))] if self._several else [])]
        for column, paper in self._slots:
            if paper:
                value = entry.papers.get(column.id)
                cells.append(escape(paper_text(value)) if value else "--")
            else:
                cells.append(_value(entry.cells.get(column.id)))
        seconds = entry.costs.gpu_seconds if self._gpu else entry.costs.seconds
        divisor = {"h": 3600, "min": 60}[self._unit]
        return _line([*cells, "--" if seconds is None else f"{seconds / divisor:.1f}"])

    def _published_rows(self) -> list[str]:
        rows = []
        for result in self._board.published:
            values = {published_column(number).id: number for number in result.numbers}
            if not any(column.id in values for column, _ in self._slots):
                continue
            paper = self._papers[result.paper]
            cells = [rf"{escape(result.name)} {{\scriptsize ({escape(paper.venue)} {paper.year})}}"]
            cells += [""] * self._several
            for column, theirs in self._slots:
                number = values.get(column.id) if theirs else None
                text = "--" if number is None else printed(number.value) + ("" if number.checked else "?")
                cells.append(text if theirs else "")
            rows.append(_line(cells + [""] * bool(self._board.entries)))
        return rows


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _value(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    # Bold spans the deviation too, or the mean alone would look like part of another number.
    text = value_text(cell).replace("±", r"$\pm$")
    return rf"\textbf{{{text}}}" if cell.best else text
