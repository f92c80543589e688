"""The page of a run: its stages over time, its config, its numbers, its address."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.site.config_view import config_blocks
from leaderboard.site.links import folder_name
from leaderboard.site.run_page import chart_data, timeline
from tests.record_samples import metric, record, stage
from tests.site_pages import build
from tests.site_samples import synthetic_run


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


@settings(deadline=None)
@given(st.text(max_size=150), st.text(max_size=150))
def test_names_of_folders_are_safe_and_tell_runs_apart(first: str, second: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,110}", folder_name(first)) or first == ""
    if first != second:
        assert folder_name(first) != folder_name(second)


def test_validations_of_a_training_are_drawn_without_their_thresholds() -> None:
    trained = stage("cam", type="train")
    assert trained.report is not None
    trained.report.validation = {"iteration": [2.0, 4.0], "cam": [0.25, None], "cam_threshold": [0.1, 0.2]}
    (drawn,) = chart_data(record(trained))["validations"]
    assert drawn == {"stage": "cam", "iteration": [2.0, 4.0], "mIoU": {"cam": [0.25, None]}}
