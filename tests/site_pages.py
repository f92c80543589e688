"""Sites made for tests, and their pages as a strict parser sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path

from harness.record import RunRecord
from leaderboard.aggregate import make_board
from leaderboard.board import Board
from leaderboard.published import Published, read_published
from leaderboard.site import write_site
from leaderboard.site.links import folder_name

VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class Element:
    """A tag of a page with the text inside it."""

    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())


@dataclass
class Page(HTMLParser):
    """A parsed page; parsing fails where a tag is not closed by its own end tag."""

    path: Path
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.path.read_text(encoding="utf-8"))
        assert not self._open, f"{self.path}: {self._open[-1]} is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{self.path}: an attribute of {tag} is there twice"
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag, attributes, tuple(parent.tag for parent in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag."""
        assert self._open, f"{self.path}: </{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"{self.path}: </{tag}> closes {self._open[-1]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        """Give text to all tags that are open."""
        for element in self._open:
            element.text += data

    def of(self, tag: str, **attributes: str) -> list[Element]:
        """Elements by tag and attributes (`class_` for class)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [e for e in self.elements if e.tag == tag and wanted.items() <= e.attributes.items()]

    @property
    def ids(self) -> list[str]:
        """All ids."""
        return [e.attributes["id"] for e in self.elements if "id" in e.attributes]


@dataclass
class Site:
    """A site with what it was made of."""

    folder: Path
    work: Path
    board: Board
    records: list[RunRecord]
    warnings: list[str]

    @cached_property
    def index(self) -> Page:
        """The front page."""
        return Page(self.folder / "index.html")

    @cached_property
    def pages(self) -> list[Page]:
        """All pages."""
        return [Page(path) for path in sorted(self.folder.rglob("*.html"))]

    def run_page(self, run: RunRecord) -> Page:
        """The page of a run."""
        return Page(self.folder / "runs" / folder_name(run.run_id) / "index.html")


@cache
def numbers() -> Published:
    return read_published()


def build(folder: Path, records: list[RunRecord], work: Path | None = None) -> Site:
    work = work or folder.parent / "no work"
    board, warnings = make_board(records, numbers()), list[str]()
    write_site(board, records, work, folder, warnings.append)
    return Site(folder, work, board, records, warnings)
