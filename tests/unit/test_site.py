"""The static site: sound HTML that loads nothing, the board's numbers, and records that may say anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import open_dataset
from harness.errors import InputError
from harness.record import RunRecord, read_record
from harness.stages.examples import COUNT
from leaderboard.aggregate import make_board
from leaderboard.board import Board, Cell, Entry
from leaderboard.published import Published, read_published
from leaderboard.site import write_site
from leaderboard.site.config_view import config_blocks
from leaderboard.site.formats import percent, signed
from leaderboard.site.links import folder_name
from leaderboard.site.run_page import timeline
from tests.record_samples import metric, record, stage
from tests.site_samples import give_examples, synthetic_records, synthetic_run

VOID = {"meta", "link", "img", "input", "br"}
SPLITS = {"seeds": "train", "pseudo_eval": "train", "seg_eval": "val", "seg_crf_eval": "val"}
EVIL = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>"


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Site:
    """Three methods with two seeds, one with published numbers, one with a single run, one marked run."""
    folder = tmp_path_factory.mktemp("site")
    records = [
        *synthetic_records(methods=2, seeds=2, marked=1),
        *(synthetic_run("vwe", seed) for seed in range(2)),
        synthetic_run("alone", overrides=[]),
        synthetic_run("synthetic-0", 0, "shapes"),
    ]
    dataset = open_dataset("shapes", shapes_root)
    for run in records[:2]:
        give_examples(run, folder / "work", dataset, SPLITS)
    return build(folder / "the site", records, folder / "work")


def cells(site: Site) -> Iterator[tuple[Entry, str, Cell, Element]]:
    """Every number of the board with its cell on the front page."""
    page = site.index
    rows, places = page.of("tr"), {id(element): place for place, element in enumerate(page.elements)}
    for table in site.board.datasets:
        for entry in table.entries:
            at = next(e for e in rows if e.attributes.get("data-entry") == entry.id)
            row = page.elements[places[id(at)] :]
            numbers = [e for e in row if e.tag == "td" and e.attributes.get("class") == "number"]
            for column, element in zip(table.columns, numbers, strict=False):
                if column.id in entry.cells:
                    yield entry, column.id, entry.cells[column.id], element


def test_pages_are_sound_html(site: Site) -> None:
    pages = site.pages
    assert len(pages) == 1 + 3 + len(site.records)
    for page in pages:
        assert len(page.of("h1")) == 1
        assert len(page.ids) == len(set(page.ids))
        assert page.of("html", lang="en")
        assert page.of("title")[0].words
        labels = [e.attributes["aria-labelledby"] for e in page.elements if "aria-labelledby" in e.attributes]
        assert set(labels) <= set(page.ids)
        assert all("alt" in e.attributes for e in page.of("img"))


def test_nothing_is_loaded_from_elsewhere(site: Site) -> None:
    for page in site.pages:
        loads = [e.attributes["src"] for e in page.elements if "src" in e.attributes]
        loads += [e.attributes["href"] for e in page.of("link")]
        assert all(not urlsplit(load).netloc and urlsplit(load).scheme in ("", "data") for load in loads)
        assert not any("url(" in e.attributes.get("style", "") for e in page.elements)
        assert not [e for e in page.elements if e.tag in ("iframe", "object", "embed", "base", "style")]
    styles = (site.folder / "assets" / "site.css").read_text()
    assert "url(" not in styles
    assert "@import" not in styles
    for script in (site.folder / "assets").glob("*.js"):
        assert not re.search(
            r"fetch\(|XMLHttpRequest|import\(|sendBeacon|innerHTML|eval\(", script.read_text()
        )


def test_every_internal_link_leads_somewhere(site: Site) -> None:
    pages = {page.path.resolve(): page for page in site.pages}
    for page in pages.values():
        for element in page.elements:
            address = element.attributes.get("href") or element.attributes.get("src")
            if not address or urlsplit(address).scheme:
                continue
            parts = urlsplit(address)
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            assert target.is_file(), f"{page.path}: {address}"
            if parts.fragment:
                assert parts.fragment in pages[target].ids, f"{page.path}: {address}"


def test_papers_are_plain_links(site: Site) -> None:
    outside = [e for page in site.pages for e in page.elements if "://" in e.attributes.get("href", "")]
    assert {e.tag for e in outside} == {"a"}
    assert all(e.attributes["href"].startswith(("https://arxiv.org/", "https://doi.org/")) for e in outside)


def test_numbers_are_the_boards(site: Site) -> None:
    checked = 0
    for _, column, cell, element in cells(site):
        checked += 1
        assert element.words.startswith(percent(cell.mean))
        assert float(element.attributes["data-value"]) == cell.mean
        if cell.std is not None:
            assert f"± {percent(cell.std)} ({cell.n})" in element.words.replace("\u202f", " ")
        if column == "seed_best":
            assert "@0.2" in element.words
    assert checked == sum(len(e.cells) for table in site.board.datasets for e in table.entries)


def test_the_papers_number_and_the_difference_stand_beside_ours(site: Site) -> None:
    found = [(e, c, cell, td) for e, c, cell, td in cells(site) if e.method == "vwe" and c in e.papers]
    assert found
    for entry, column, cell, element in found:
        assert f"paper {100 * entry.papers[column].value:.1f}" in element.words
        if cell.difference is not None:
            assert signed(cell.difference) in element.words


def test_marked_runs_stand_apart_and_have_no_rank(site: Site) -> None:
    page = site.index
    kinds = {
        e.attributes["data-entry"]: e.attributes["data-kind"]
        for e in page.of("tr")
        if "data-entry" in e.attributes
    }
    for table in site.board.datasets:
        assert [kinds[entry.id] for entry in table.ranked] == ["full"] * len(table.ranked)
        assert [kinds[entry.id] for entry in table.unranked] == ["marked"] * len(table.unranked)
    assert sum(kind == "marked" for kind in kinds.values()) == 1
    (body,) = page.of("tbody", class_="unranked")
    assert "Marked 0" in body.words
    assert "limit 8" in body.words
    assert "rank " not in body.words


def test_every_number_leads_to_its_record(site: Site) -> None:
    positions = {id(element): place for place, element in enumerate(site.index.elements)}
    for entry, column, cell, element in cells(site):
        inside = next(e for e in site.index.elements[positions[id(element)] :] if e.tag == "a")
        folder = (site.folder / inside.attributes["href"].partition("#")[0]).parent
        if cell.n > 1:
            listed = {e.words for e in Page(folder / "index.html").of("a")}
            assert {run.run_id for run in entry.runs} <= listed
            assert {percent(value) for value in cell.values.values()} <= listed
        else:
            assert read_record(folder / "record.json").run_id == entry.runs[0].run_id
            assert inside.attributes["href"].endswith(f"#{column}")


def test_the_copied_record_is_the_record(site: Site) -> None:
    for run in site.records:
        assert read_record(site.folder / "runs" / folder_name(run.run_id) / "record.json") == run


def test_a_runs_page_has_its_numbers_with_their_protocol(site: Site) -> None:
    page = site.run_page(site.records[0])
    for found in site.records[0].metrics:
        row = next(
            e for e in page.of("tr") if percent(found.value) in e.words and found.protocol.split in e.words
        )
        low, high = found.interval or (0, 0)
        assert f"{percent(low)} to {percent(high)}" in row.words
        assert f"{found.protocol.images} images" in row.words


def test_charts_carry_the_boards_numbers(site: Site) -> None:
    documents = [json.loads(e.text) for e in site.index.of("script", type="application/json")]
    shown = {entry["id"]: entry for document in documents for entry in document["entries"]}
    for table in site.board.datasets:
        for entry in table.entries:
            values = {column: round(100 * cell.mean, 5) for column, cell in entry.cells.items()}
            assert shown[entry.id]["values"] == values
            assert shown[entry.id]["full"] == (entry.rank is not None)


def test_pictures_of_a_run_are_in_rows_by_image(site: Site) -> None:
    page = site.run_page(site.records[0])
    assert len(page.of("div", class_="example")) == 2 * COUNT
    captions = [e.words for e in page.of("figcaption")]
    row = [
        "image",
        "CAM",
        "seed at 0.2",
        "errors of seed at 0.2",
        "pseudo",
        "errors of pseudo",
        "ground truth",
    ]
    assert captions[: len(row)] == row
    assert captions.count("errors of seg+CRF") == COUNT
    assert not site.run_page(site.records[2]).of("div", class_="example")
    assert site.warnings == []


def test_pictures_that_runs_share_are_stored_once(site: Site) -> None:
    first, second = ({e.attributes["src"] for e in site.run_page(run).of("img")} for run in site.records[:2])
    assert first == second
    stored = {f"../../pictures/{path.name}" for path in (site.folder / "pictures").iterdir()}
    assert stored == first


def test_the_same_records_give_the_same_bytes(tmp_path: Path, site: Site) -> None:
    again = build(tmp_path / "again", site.records, site.work)
    names = sorted(path.relative_to(site.folder) for path in site.folder.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(again.folder) for p in again.folder.rglob("*") if p.is_file())
    for name in names:
        assert (site.folder / name).read_bytes() == (again.folder / name).read_bytes(), name


def test_a_new_site_replaces_the_old_one(tmp_path: Path) -> None:
    records = synthetic_records(methods=2, seeds=1, marked=0)
    build(tmp_path / "site", records)
    build(tmp_path / "site", records[:1])
    assert [path.name for path in (tmp_path / "site" / "runs").iterdir()] == [records[0].run_id]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds something else than a leaderboard's site"):
        build(tmp_path, [])
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="is a file: name a folder"):
        build(tmp_path / "thesis.tex", [])


def test_a_leaderboard_without_runs_is_a_page(tmp_path: Path) -> None:
    site = build(tmp_path / "site", [])
    assert [page.path.name for page in site.pages] == ["index.html"]
    assert "No finished run yet" in site.index.of("main")[0].words


def test_what_records_say_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    run = synthetic_run("evil", variant=EVIL, overrides=[f"{EVIL}=1"])
    run.dataset.notices = [EVIL]
    run.title = run.method = run.hardware.cpu = run.environment.python = run.code.version = EVIL
    run.run_id = f"../../{EVIL}"
    run.config = {EVIL: {EVIL: EVIL}, "stages": {EVIL: {EVIL: [EVIL]}}}
    run.environment.packages = {EVIL: EVIL}
    for made in run.stages:
        made.name, made.key, made.error = made.name + EVIL, EVIL, EVIL
        assert made.report
        for found in made.report.metrics:
            found.per_class = {EVIL: 0.5}
            found.excluded, found.protocol.ground_truth = [EVIL], EVIL
            found.protocol.details = {EVIL: EVIL}
        if made.report.losses:
            made.report.losses[EVIL + "loss"] = made.report.losses["loss"]
    inside = tmp_path / "outer" / "inner" / "site"
    site = build(inside, [run])
    assert [path.name for path in tmp_path.rglob("*.html")].count("index.html") == 2
    assert all(path.is_relative_to(inside) for path in tmp_path.rglob("*") if path.is_file())
    for page in site.pages:
        scripts = page.of("script")
        assert all("src" in e.attributes or e.attributes["type"] == "application/json" for e in scripts)
        assert not [e for e in page.elements for name in e.attributes if name.startswith("on")]
        assert not page.of("img", src="x")
        assert EVIL in page.of("h1")[0].text or page.path.parent == inside


def test_numbers_that_json_does_not_have_leave_gaps(tmp_path: Path) -> None:
    run = synthetic_run("diverged")
    assert run.stages[0].report
    run.stages[0].report.losses = {"iteration": [1.0, 2.0], "loss": [float("nan"), float("inf")]}
    page = build(tmp_path / "site", [run]).run_page(run)
    (script,) = page.of("script", type="application/json")
    document = json.loads(script.text, parse_constant=pytest.fail)
    assert document["losses"][0]["losses"]["loss"] == [None, None]


@pytest.fixture
def pictured(tmp_path: Path, shapes_root: Path) -> tuple[RunRecord, Path]:
    """A run whose seeds have examples, and the folder of those."""
    run = synthetic_run("pictured")
    give_examples(run, tmp_path / "work", open_dataset("shapes", shapes_root), {"seeds": "train"})
    seeds = next(stage for stage in run.stages if stage.name == "seeds")
    return run, tmp_path / "work" / seeds.artifact / "files" / "examples"


def images(tmp_path: Path, run: RunRecord) -> tuple[int, list[str]]:
    """Number of figures on the page of a run, and what was warned of."""
    site = build(tmp_path / "site", [run], tmp_path / "work")
    return len(site.run_page(run).of("figure")), site.warnings


def test_a_broken_picture_is_left_out_with_a_warning(
    tmp_path: Path, pictured: tuple[RunRecord, Path]
) -> None:
    run, folder = pictured
    whole, _ = images(tmp_path, run)
    (folder / "0_errors.png").write_bytes(b"no picture")
    (folder / "1_errors.png").unlink()
    found, warnings = images(tmp_path, run)
    assert found == whole - 2
    assert len(warnings) == 1
    assert "0_errors.png cannot be read and is left out" in warnings[0]


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '{"split": "train", "examples": [{"id": 3}]}'])
def test_a_broken_index_is_left_out_with_a_warning(
    tmp_path: Path, pictured: tuple[RunRecord, Path], content: str
) -> None:
    run, folder = pictured
    (folder / "index.json").write_text(content)
    found, warnings = images(tmp_path, run)
    assert found == 0
    assert "index.json cannot be read and are left out" in warnings[0]


@pytest.mark.parametrize("name", ["../../../../secret.png", "/etc/passwd", "index.json", "a b.png", ".png"])
def test_pictures_come_from_the_examples_alone(
    tmp_path: Path, pictured: tuple[RunRecord, Path], name: str
) -> None:
    run, folder = pictured
    whole, _ = images(tmp_path, run)
    (folder / "../../../../secret.png").write_bytes((folder / "0_truth.png").read_bytes())
    index = json.loads((folder / "index.json").read_text())
    index["examples"][0]["pictures"]["errors"] = name
    (folder / "index.json").write_text(json.dumps(index))
    assert images(tmp_path, run) == (whole - 1, [])


def test_a_link_is_no_picture(tmp_path: Path, pictured: tuple[RunRecord, Path]) -> None:
    run, folder = pictured
    whole, _ = images(tmp_path, run)
    (folder / "0_errors.png").unlink()
    (folder / "0_errors.png").symlink_to(folder / "0_truth.png")
    assert images(tmp_path, run) == (whole - 1, [])


@pytest.mark.parametrize("lead_out", ["../elsewhere", "absolute"])
def test_artifacts_lie_in_the_work_folder(
    tmp_path: Path, pictured: tuple[RunRecord, Path], lead_out: str
) -> None:
    run, folder = pictured
    (folder.parents[1]).rename(tmp_path / "elsewhere")
    seeds = next(stage for stage in run.stages if stage.name == "seeds")
    seeds.artifact = str(tmp_path / "elsewhere") if lead_out == "absolute" else lead_out
    assert images(tmp_path, run) == (0, [])


def test_stages_of_a_run_stand_where_the_clock_says() -> None:
    run = synthetic_run("clock")
    found = timeline(run)
    whole = sum(stage.report.seconds for stage in run.stages if stage.report)
    assert found.seconds == pytest.approx(whole)
    assert not found.by_cost
    assert sum(bar.share or 0 for bar in found.bars) == pytest.approx(1)
    assert found.bars[1].start == pytest.approx(found.bars[0].share)


def test_reused_stages_have_no_place_on_the_clock() -> None:
    run = synthetic_run("partly")
    run.stages[0].state, run.stages[0].started, run.stages[0].ended = "reused", None, None
    first, second = timeline(run).bars[:2]
    assert (first.reused, first.start, first.share) == (True, None, None)
    assert first.words.startswith("reused, had taken")
    assert second.start == 0


def test_a_run_that_reused_everything_shows_what_it_cost() -> None:
    run = synthetic_run("again")
    for made in run.stages:
        made.state, made.started, made.ended = "reused", None, None
    found = timeline(run)
    assert found.by_cost
    assert all(bar.reused for bar in found.bars)
    assert sum(bar.share or 0 for bar in found.bars) == pytest.approx(1)


def test_a_stage_that_did_not_end_has_a_bar_without_length() -> None:
    failed = stage("cam", started=synthetic_run("x").started, state="failed")
    run = record(failed, started=synthetic_run("x").started + timedelta(0))
    (bar,) = timeline(run).bars
    assert (bar.start, bar.share) == (0, 0)


def test_overridden_lines_of_the_config_are_marked() -> None:
    config = {"title": "T", "stages": {"seg": {"lr": 0.1, "model": {"type": "Net", "depth": 3}}}}
    method, seg = config_blocks(config, ["stages.seg.model.depth=3"])
    assert (method.name, [line.key for line in method.lines]) == ("method and data", ["title"])
    assert [(line.key, line.indent, line.overridden) for line in seg.lines] == [
        ("lr", 0, False),
        ("model", 0, False),
        ("type", 1, False),
        ("depth", 1, True),
    ]
    assert seg.overridden
    assert not method.overridden


def test_stages_of_the_config_stand_in_their_order() -> None:
    blocks = config_blocks({"stages": {"b": {}, "unknown": {}, "a": {}}}, [], ["a", "b"])
    assert [block.name for block in blocks] == ["a", "b", "unknown"]


def test_an_overridden_part_of_the_config_is_marked_as_a_whole() -> None:
    long = {"type": "Net", "stages": list(range(40)), "depth": 3}
    (seg,) = config_blocks({"stages": {"seg": {"model": long}}}, ["stages.seg.model={...}"])
    assert all(line.overridden for line in seg.lines)
    assert len(seg.lines) == 4


def test_a_second_number_of_a_kind_has_an_anchor_of_its_own(tmp_path: Path) -> None:
    run = record(stage("seg_eval", metric("seg", 0.6)), stage("seg_again", metric("seg", 0.5)))
    page = build(tmp_path / "site", [run]).run_page(run)
    assert {"seg", "seg-2"} <= set(page.ids)


@given(st.text(max_size=150), st.text(max_size=150))
def test_names_of_folders_are_safe_and_tell_runs_apart(first: str, second: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,110}", folder_name(first)) or first == ""
    if first != second:
        assert folder_name(first) != folder_name(second)
