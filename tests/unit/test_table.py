"""The leaderboard: who is first, what is shown, and what a run that is not a full one says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from harness.record import RunRecord
from leaderboard.table import leaderboard_rows, render_markdown, render_terminal
from tests.record_samples import metric, record, stage


def run(method: str, seg: float | None = None, seed: float | None = None, **changes: Any) -> RunRecord:
    stages = []
    if seed is not None:
        stages.append(stage("seeds", metric("seed", seed, "best of sweep", 0.13)))
    if seg is not None:
        stages.append(stage("seg_eval", metric("seg", seg)))
    return record(*stages, method=method, run_id=f"run of {method}", **changes)


def methods(*records: RunRecord) -> list[str]:
    return [row.method for row in leaderboard_rows(records)]


def test_the_best_segmentation_is_first_and_seeds_alone_come_after_it() -> None:
    found = methods(
        run("good seeds only", seed=0.9), run("second", 0.6, 0.1), run("first", 0.7), run("seeds", seed=0.5)
    )
    assert found == ["first", "second", "good seeds only", "seeds"]


@pytest.mark.parametrize(
    "changes", [{"smoke": True}, {"limit": 4}, {"overrides": ["a=1"]}, {"dataset": {"official": False}}]
)
def test_runs_that_are_no_full_ones_come_after_all_full_ones(changes: dict[str, Any]) -> None:
    assert methods(run("shortened", 0.9, **changes), run("full", 0.1)) == ["full", "shortened"]


def test_datasets_are_not_compared_with_each_other() -> None:
    rows = leaderboard_rows([run("a", 0.1), run("b", 0.9, dataset={"name": "shapes"}), run("c", 0.2)])
    assert [(row.dataset, row.method) for row in rows] == [("shapes", "b"), ("voc", "c"), ("voc", "a")]


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "timeout", "wrong input"])
def test_only_finished_runs_count(state: str) -> None:
    assert methods(run("unfinished", 0.9, state=state), run("finished", 0.1)) == ["finished"]


def test_the_same_work_is_one_row_however_often_it_was_asked_for() -> None:
    first, again = run("vwe", 0.6, 0.5), run("vwe", 0.6, 0.5, started=datetime(2022, 1, 1, tzinfo=UTC))
    again.run_id = "again"
    only = again.model_copy(deep=True)
    only.run_id, only.stages[0].report = "only", None
    assert [row.run for row in leaderboard_rows([first, again, only])] == ["again"]
    assert [row.run for row in leaderboard_rows([only, again, first])] == ["again"]


def test_runs_with_another_key_are_another_row() -> None:
    first, other = run("vwe", 0.6), run("vwe", 0.5)
    other.stages[0].key = "another seed"
    assert len(leaderboard_rows([first, other])) == 2


def test_numbers_are_percent_and_thresholds_are_named() -> None:
    (row,) = leaderboard_rows(
        [
            record(
                stage(
                    "seeds",
                    metric("seed", 0.57125, "best of sweep", 0.13),
                    metric("seed", 0.5, "fixed", 0.2),
                    seconds=3600,
                    memory=1 << 30,
                    joules=3600.0,
                ),
                stage("seg", seconds=61, memory=3 << 30, joules=7200.0),
                variant="vwl_memory",
            )
        ]
    )
    assert (row.seed, row.seed_fixed, row.pseudo, row.seg) == ("57.1 @0.13", "50.0 @0.2", "-", "-")
    assert (row.time, row.memory, row.energy) == ("1:01:01", "3.0 GiB", "3 Wh")
    assert (row.method, row.notes) == ("vwe (vwl_memory)", "-")


def test_energy_is_absent_without_a_gpu() -> None:
    assert leaderboard_rows([run("vwe", 0.6)])[0].energy == "-"


def test_markdown_has_as_many_cells_in_every_line_whatever_a_name_holds() -> None:
    lines = render_markdown(leaderboard_rows([run("a|b", 0.6)])).splitlines()
    assert len(lines) == 3
    assert "a\\|b" in lines[2]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_an_empty_leaderboard_is_a_table_without_rows() -> None:
    assert len(render_markdown(leaderboard_rows([])).splitlines()) == 2


def test_the_terminal_leaves_out_columns_that_nobody_has_numbers_in() -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(render_terminal(leaderboard_rows([run("vwe", 0.6)]), "mIoU (%) on voc"))
    text = capture.get()
    assert "60.0" in text
    assert "pseudo" not in text
    assert "energy" not in text
