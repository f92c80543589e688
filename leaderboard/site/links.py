"""Addresses of pages: relative, and safe whatever a record calls itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from leaderboard.board import Cell, Entry

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 100  # characters of a folder's name


def folder_name(name: str) -> str:
    """A name of a folder and part of an address; other names give other folders."""
    safe = _UNSAFE.sub("-", name).strip("-")[:_LONGEST]
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


@dataclass(frozen=True)
class Links:
    """Where the pages are, as seen from a page.

    Attributes:
        runs: ids of the runs that have a page.
        root: from the page to the site's folder: `""` or `"../../"`.
    """

    runs: frozenset[str] = field(default_factory=frozenset)
    root: str = ""

    @classmethod
    def to(cls, runs: Iterable[str]) -> Links:
        """Links to the pages of these runs, from the front page."""
        return cls(frozenset(runs))

    def below(self) -> Links:
        """The same pages as seen from a page of a run or an entry."""
        return Links(self.runs, "../../")

    def run(self, run_id: str, anchor: str = "") -> str | None:
        """Page of a run, or None where its record is not at hand."""
        if run_id not in self.runs:
            return None
        return f"{self.root}runs/{folder_name(run_id)}/index.html" + (f"#{anchor}" if anchor else "")

    def entry(self, entry: Entry, anchor: str = "") -> str:
        """Page of an entry's runs; that of the run itself where there is only one."""
        only = self.run(entry.runs[0].run_id, anchor) if len(entry.runs) == 1 else None
        return only or self.entry_page(entry) + (f"#{anchor}" if anchor else "")

    def entry_page(self, entry: Entry) -> str:
        """Page that lists an entry's runs."""
        return f"{self.root}entries/{folder_name(entry.id)}/index.html"

    def number(self, column: str, entry: Entry, cell: Cell) -> str:
        """Where a number of the table comes from: the run that has it, or the page of all runs that have."""
        runs = list(cell.values)
        only = self.run(runs[0], column) if len(runs) == 1 else None
        return only or self.entry_page(entry) + f"#{column}"
