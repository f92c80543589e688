"""Runs side by side: what is said first, what differs, and how a user names a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.errors import InputError
from harness.record import RunRecord, WeightsRecord
from harness.report import Metric
from leaderboard.comparison import Comparison, compare, differences
from leaderboard.comparison_view import comparison_view
from leaderboard.runs import find_run
from tests.command import Command
from tests.record_samples import metric, record, stage


def seg(value: float, interval: tuple[float, float] | None = None, **changes: Any) -> Metric:
    return metric("seg", value).model_copy(update={"interval": interval, **changes})


def run(*metrics: Metric, run_id: str = "20210101-a", **changes: Any) -> RunRecord:
    return record(stage("seg_eval", *metrics, seconds=changes.pop("seconds", 60.0)), run_id=run_id, **changes)


def shown(comparison: Comparison) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(comparison_view(comparison))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_configs_differ_by_dotted_keys() -> None:
    found = differences(
        [{"a": {"b": 1, "same": 0}, "only": True, "list": [1]}, {"a": {"b": 2, "same": 0}, "list": [1, 2]}]
    )
    assert [(item.name, item.values) for item in found] == [
        ("a.b", ("1", "2")),
        ("list", ("[1]", "[1, 2]")),
        ("only", ("True", "-")),
    ]


def test_differences_are_to_the_first_run() -> None:
    (number,) = compare([run(seg(0.5)), run(seg(0.6)), run(metric("pseudo", 0.5))]).numbers[1:]
    assert number.difference(1) == pytest.approx(0.1)
    assert number.difference(2) is None


@pytest.mark.parametrize(
    ("first", "other", "outside"),
    [
        (seg(0.50, (0.48, 0.52)), seg(0.60, (0.58, 0.62)), True),
        (seg(0.50, (0.48, 0.52)), seg(0.51, (0.49, 0.53)), False),
        (seg(0.50, (0.48, 0.52)), seg(0.55, (0.45, 0.65)), False),
        (seg(0.50, (0.48, 0.52)), seg(0.60), None),
        (seg(0.50), seg(0.60), None),
    ],
)
def test_a_value_is_outside_when_neither_interval_holds_the_other(
    first: Metric, other: Metric, outside: bool | None
) -> None:
    (number,) = compare([run(first), run(other)]).numbers
    assert number.outside(1) is outside


def other_protocol(**changes: Any) -> Metric:
    found = seg(0.5)
    return found.model_copy(update={"protocol": found.protocol.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (run(seg(0.5), dataset={"name": "shapes"}), "other datasets: voc against shapes"),
        (run(seg(0.5), dataset={"fingerprint": "f1"}), "other data: fingerprint f0 against f1"),
        (run(seg(0.5), limit=4), "other kinds of run: full run against limit 4"),
        (run(other_protocol(images=8)), "other protocol of seg: images 1449 against 8"),
        (
            run(other_protocol(ground_truth="mine")),
            "other protocol of seg: ground_truth official against mine",
        ),
    ],
)
def test_what_makes_a_comparison_unfair_is_said_before_any_number(other: RunRecord, reason: str) -> None:
    comparison = compare([run(seg(0.5)), other])
    assert comparison.unfair == (reason,)
    text = shown(comparison)
    assert text.index(reason) < text.index("mIoU (%)")


@pytest.mark.parametrize(
    ("train", "unfair"), [("t0", ()), ("t1", ("other data in train: fingerprint t0 against t1",))]
)
def test_data_are_the_same_when_the_splits_that_both_use_are(train: str, unfair: tuple[str, ...]) -> None:
    whole = {"fingerprint": "f0", "split_fingerprints": {"train": "t0", "val": "v0"}}
    part = {"fingerprint": "f1", "split_fingerprints": {"train": train}}
    assert compare([run(seg(0.5), dataset=whole), run(seg(0.5), dataset=part)]).unfair == unfair


def test_the_method_s_own_inference_is_no_other_protocol() -> None:
    assert (
        compare([run(seg(0.5)), run(other_protocol(details={"refiner": {"type": "DenseCRF"}}))]).unfair == ()
    )


def test_weights_code_and_machine_are_where_runs_come_from() -> None:
    other = run(seg(0.5), seed=1, weights=[WeightsRecord(name="resnet50", sha256=None)])
    other.environment.packages["torch"] = "2.12"
    other.hardware.cpu = "another"
    comparison = compare([run(seg(0.5)), other])
    assert [item.name for item in comparison.origin] == [
        "hardware.cpu",
        "other packages",
        "seed",
        "weights.resnet50",
    ]
    assert comparison.unfair == ("other kinds of run: full run against random weights",)


def test_the_terminal_shows_numbers_classes_and_costs() -> None:
    classes = {"background": 0.9, "cow": 0.5, "dog": None}
    first = run(seg(0.5, (0.48, 0.52), per_class=classes), seconds=60)
    second = run(seg(0.7, (0.66, 0.74), per_class=classes | {"cow": 0.7, "background": 0.8}), seconds=90)
    text = shown(compare([first, second]))
    for line in (
        " seg      50.00 [48.0, 52.0]   70.00 [66.0, 74.0]   +20.00 ≠",
        " background   90.0   80.0   -10.0         ██████│",
        " cow          50.0   70.0   +20.0               │████████████",
        " dog             -      -       -               │",
        " all stages       1:00      1:30    1.50",
        "The configs are the same.",
    ):
        assert line in text


def written(work: Path, *run_ids: str) -> Path:
    for run_id in run_ids:
        folder = work / "runs" / run_id
        folder.mkdir(parents=True)
        run(seg(0.5), run_id=run_id).write(folder)
    return work


@pytest.mark.parametrize(
    "name",
    [
        lambda work: "20210101-a",
        lambda work: "202101",
        lambda work: str(work / "runs" / "20210101-a"),
        lambda work: str(work / "runs" / "20210101-a" / "record.json"),
    ],
)
def test_a_run_is_named_by_id_beginning_folder_or_record(tmp_path: Path, name: Callable[[Path], str]) -> None:
    work = written(tmp_path / "work", "20210101-a", "20210202-b")
    found = find_run(name(work), work)
    assert (found.record.run_id, found.work) == ("20210101-a", work)


def test_a_whole_id_wins_over_longer_ones(tmp_path: Path) -> None:
    work = written(tmp_path, "20210101-a", "20210101-ab")
    assert find_run("20210101-a", work).record.run_id == "20210101-a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("20210201-b", r"no run '20210201-b' in .*runs \(did you mean '20210202-b'\?\)"),
        ("2021", "2 runs begin with '2021': 20210101-a, 20210202-b; give more of the id"),
        ("x", "no run 'x' in .*runs; the latest is 20210202-b"),
    ],
)
def test_an_unclear_name_is_one_sentence(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_run(name, written(tmp_path, "20210101-a", "20210202-b"))


def test_a_folder_without_a_record_and_a_work_folder_without_runs_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no record\.json"):
        find_run(str(tmp_path), tmp_path)
    with pytest.raises(InputError, match="holds no records"):
        find_run("20210101-a", tmp_path)


def test_the_command_compares_and_refuses_a_single_run(command: Command, tmp_path: Path) -> None:
    work = written(tmp_path / "work", "20210101-a", "20210202-b")
    outcome = command("compare", "20210101", "20210202", "--work-dir", work)
    assert (outcome.status, outcome.errors) == (0, "")
    assert "20210202-b" in outcome.output
    outcome = command("compare", "20210101", "--work-dir", work)
    assert (outcome.status, "name a second one" in outcome.sentence) == (2, True)
