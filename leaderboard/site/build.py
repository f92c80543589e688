"""Writes the site: front page, a page per entry of several runs, a page per run, pictures, records."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic_core import to_json

from harness.errors import InputError
from harness.record import RunRecord
from leaderboard.board import Board, Entry, published_column
from leaderboard.site import index_page, run_page
from leaderboard.site.config_view import config_blocks, in_one_line
from leaderboard.site.formats import FILTERS
from leaderboard.site.gallery import ERRORS, Gallery
from leaderboard.site.links import Links, folder_name
from leaderboard.wording import paper_legend

MARKER = ".harness-site"  # a folder with it was made here, and may be made again
_MADE = ("assets", "entries", "pictures", "runs")
_STATIC = Path(__file__).parent / "static"


def write_site(
    board: Board,
    records: Iterable[RunRecord],
    work: Path,
    folder: Path,
    warn: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the leaderboard's site; what an earlier call wrote there is replaced.

    The same records give the same bytes.

    Args:
        board: the leaderboard.
        records: of the board's runs; others are left out, and a run without its record gets no page.
        work: work folder; pictures come from its artifacts, as far as they are still there.
        folder: the site's folder; the front page is its `index.html`.
        warn: receives a sentence for each picture or index of examples that is there but cannot be read.

    Raises:
        InputError: the folder holds something else.
    """
    _clear(folder)
    shown = {run.run_id for table in board.datasets for entry in table.entries for run in entry.runs}
    by_id = {record.run_id: record for record in records if record.run_id in shown}
    links = Links.to(by_id)
    shutil.copytree(_STATIC, folder / "assets")
    environment = _environment()
    _write_index(environment, folder, board, by_id, links)
    gallery = Gallery(work, folder, warn)
    for table in board.datasets:
        for entry in table.entries:
            if len(entry.runs) > 1 or entry.runs[0].run_id not in by_id:
                _write_entry(environment, folder, entry, board, table.dataset, links)
            for run in entry.runs:
                if run.run_id in by_id:
                    _write_run(environment, folder, by_id[run.run_id], entry, board, links, gallery)


def _clear(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise InputError(
            f"the folder {folder} holds something else than a leaderboard's site: name an empty or a new one"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder for the site")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} for the site: {error.strerror}") from error
    (folder / MARKER).write_text("made by harness leaderboard --format html\n", encoding="utf-8")
    for name in _MADE:
        shutil.rmtree(folder / name, ignore_errors=True)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("leaderboard.site"),
        autoescape=True,  # everything that records say is text, whatever it looks like
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters.update(FILTERS)
    environment.filters["in_one_line"] = in_one_line
    environment.globals["display_name"] = index_page.display_name
    return environment


def _write(environment: Environment, template: str, path: Path, links: Links, **context: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = environment.get_template(template).render(root=links.root, links=links, **context)
    path.write_text(text, encoding="utf-8")


def _write_index(
    environment: Environment, folder: Path, board: Board, records: dict[str, RunRecord], links: Links
) -> None:
    tables = [table for table in board.datasets if table.entries or table.published]
    _write(
        environment,
        "index.html.j2",
        folder / "index.html",
        links,
        board=board,
        tables=tables,
        first=max(tables, key=lambda table: len(table.entries)).dataset if tables else None,
        methods=index_page.choices(board),
        charts={
            table.dataset: index_page.chart_data(table, records, links) for table in tables if table.entries
        },
        page=index_page,
        published_column=published_column,
        paper_legend=paper_legend,
    )


def _write_entry(
    environment: Environment, folder: Path, entry: Entry, board: Board, dataset: str, links: Links
) -> None:
    path = folder / "entries" / folder_name(entry.id) / "index.html"
    columns = [
        column
        for table in board.datasets
        if table.dataset == dataset
        for column in table.columns
        if column.id in entry.cells
    ]
    _write(
        environment,
        "entry.html.j2",
        path,
        links.below(),
        entry=entry,
        dataset=dataset,
        columns=columns,
        papers=board.papers,
    )


def _write_run(
    environment: Environment,
    folder: Path,
    record: RunRecord,
    entry: Entry,
    board: Board,
    links: Links,
    gallery: Gallery,
) -> None:
    place = folder / "runs" / folder_name(record.run_id)
    place.mkdir(parents=True, exist_ok=True)
    # As `RunRecord.write`, but a site of many runs need not wait for the disk after each.
    text = to_json(record.model_dump(mode="json"), indent=1, inf_nan_mode="constants")
    (place / "record.json").write_bytes(text + b"\n")
    _write(
        environment,
        "run.html.j2",
        place / "index.html",
        links.below(),
        record=record,
        entry=entry,
        cost=next(run.costs for run in entry.runs if run.run_id == record.run_id),
        numbers=run_page.numbers(record),
        timeline=run_page.timeline(record),
        chart=run_page.chart_data(record),
        blocks=config_blocks(record.config, record.overrides, [stage.name for stage in record.stages]),
        rows=gallery.rows(record),
        errors=ERRORS,
        papers=board.papers,
    )
