"""The leaderboard in a terminal: the steps of the pipeline side by side, in 80 columns."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from harness.record import RunRecord
from leaderboard.aggregate import make_board
from leaderboard.table import terminal_table
from tests.record_samples import metric, record, stage


def full_run(method: str, shift: float = 0.0, seed: int = 0, **changes: Any) -> RunRecord:
    return record(
        stage(
            "seeds",
            metric("seed", 0.5 + shift, "best of sweep", 0.15),
            metric("seed", 0.48, "fixed", 0.2),
            seconds=3600,
        ),
        stage("pseudo_eval", metric("pseudo", 0.66 + shift)),
        stage("seg_eval", metric("seg", 0.664 + shift)),
        stage("seg_crf_eval", metric("seg_crf", 0.670 + shift)),
        method=method,
        run_id=f"{method}-{seed}",
        seed=seed,
        **changes,
    )


def shown(*records: RunRecord, current: str | None = None) -> list[str]:
    (board,) = make_board(records).only("voc").datasets
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(terminal_table(board, current))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_steps_of_the_pipeline_stand_side_by_side() -> None:
    other = [full_run("other", 0.01 * (1 + seed), seed) for seed in (0, 1, 2)]
    table = shown(*other, full_run("vwe"), full_run("short", 0.3, limit=4), current="vwe-0")
    assert table == [
        "mIoU (%) on voc",
        "",
        " # method      n seed (best)   → pseudo       → seg   → seg+CRF  time",
        " ────────────────────────────────────────────────────────────────────",
        " 1 other       3  52.0 ± 1.0 68.0 ± 1.0  68.4 ± 1.0  69.0 ± 1.0 1.1 h",
        " 2 ▸ vwe       1        50.0       66.0        66.4        67.0 1.1 h",
        "     published                          66.3 (+0.1) 67.2 (-0.2)",
        "",
        " - short [a]   1        80.0       96.0        96.4        97.0 1.1 h",
        "",
        "[a] limit 4",
    ]


def test_columns_that_nobody_has_numbers_in_are_left_out() -> None:
    table = shown(record(stage("seeds", metric("seed", 0.5, "best of sweep", 0.1)), method="other"))
    assert table[2].split() == ["#", "method", "seed", "(best)", "time"]


def test_a_number_on_another_split_is_shown_where_the_usual_one_is_missing() -> None:
    table = shown(record(stage("eval", metric("pseudo", 0.5, split="train_aug")), method="other"))
    assert "pseudo train_aug" in table[2]


def test_published_numbers_of_another_protocol_are_marked_and_not_subtracted() -> None:
    table = "\n".join(shown(full_run("irn")))
    assert "63.5*" in table
    assert "63.5* (" not in table
    assert "* another protocol than ours, or one that is not stated" in table


def test_entries_with_the_same_remarks_share_a_footnote() -> None:
    table = shown(full_run("a", limit=4), full_run("b", limit=4), full_run("c", overrides=["x=1"]))
    assert table[-2:] == ["[a] limit 4", "[b] --set x=1"]
    assert sum("[a]" in line for line in table) == 3
