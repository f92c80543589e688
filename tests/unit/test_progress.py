"""How far a stage is, over kills and restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import progress
from harness.progress import ProgressWriter, read_progress


class Clock:
    """A clock that the test moves; both faces of it show the same seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_the_time_to_go_comes_from_this_process_alone(tmp_path: Path, clock: Clock) -> None:
    writer = ProgressWriter(tmp_path)
    clock.now += 50  # loading the network is no part of the pace
    writer.begin(100, "images", done=80)
    clock.now += 10
    writer.update(85)
    state = read_progress(tmp_path)
    assert state is not None
    assert state.eta == pytest.approx(30)  # 2 seconds per image, 15 images to go


def test_no_time_to_go_before_the_first_own_unit(tmp_path: Path, clock: Clock) -> None:
    ProgressWriter(tmp_path).begin(100, "images", done=80)
    state = read_progress(tmp_path)
    assert state is not None
    assert (state.done, state.total, state.eta) == (80, 100, None)


def test_seconds_spent_add_up_over_killed_processes(tmp_path: Path, clock: Clock) -> None:
    first = ProgressWriter(tmp_path)
    first.begin(10, "iterations")
    clock.now += 7
    first.update(3)
    clock.now += 100  # killed; the machine was off
    second = ProgressWriter(tmp_path)
    clock.now += 5
    assert second.spent == pytest.approx(12)


def test_updates_within_a_moment_are_not_written_but_the_last_is(tmp_path: Path, clock: Clock) -> None:
    writer = ProgressWriter(tmp_path)
    writer.begin(3, "images")
    seen = []
    for done in (1, 2, 3):
        clock.now += 0.01
        writer.update(done)
        state = read_progress(tmp_path)
        seen.append(state.done if state else None)
    assert seen == [0, 0, 3]


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"done": 1}'])
def test_progress_that_is_absent_or_torn_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "progress.json").write_text(content)
    assert read_progress(tmp_path) is None
