"""The static site: sound HTML that loads nothing, the board's numbers, and records that may say anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from harness.data import open_dataset
from harness.errors import InputError
from harness.record import read_record
from leaderboard import site as site_package
from leaderboard.board import Cell, Entry
from leaderboard.site.formats import percent, signed
from leaderboard.site.links import folder_name
from tests.site_pages import Element, Page, Site, build
from tests.site_samples import give_examples, synthetic_records, synthetic_run

EVIL = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>"


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
    give_examples(records[0], folder / "work", dataset, {"seeds": "train", "seg_eval": "val"})
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
    for style in (site.folder / "assets").glob("*.css"):
        assert not re.search(r"url\(|@import|@font-face", style.read_text())
    for script in (site.folder / "assets").glob("*.js"):
        assert not re.search(
            r"fetch\(|XMLHttpRequest|import\(|sendBeacon|innerHTML|eval\(", script.read_text()
        )


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(theme: int) -> None:
    """WCAG 2: 4.5 for text, 3 for the lines and points of charts."""
    css = (Path(site_package.__file__).parent / "static" / "site.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): light-dark\(([^)]+)\)", css))

    def luminance(name: str) -> float:
        values = bytes.fromhex(colours[name].split(", ")[theme][1:])
        linear = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (b / 255 for b in values)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return high / low

    for text in ("ink", "muted", "accent", "better", "worse"):
        for behind in ("paper", "raised", "sunk"):
            assert contrast(text, behind) >= 4.5, (text, behind)
    assert contrast("mark-ink", "mark") >= 4.5
    assert contrast("heat-weak-ink", "heat-low") >= 4.5
    assert contrast("heat-strong-ink", "heat-high") >= 4.5
    assert all(contrast(f"series-{number}", "paper") >= 3 for number in range(8))


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
    with pytest.raises(InputError, match=r"cannot make the folder .*: Not a directory"):
        build(tmp_path / "thesis.tex" / "site", [])


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
