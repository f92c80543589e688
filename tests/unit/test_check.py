"""The regression check: bands from repetitions, what is compared with what, and what CI is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import norm

from harness.config import find_config, load_config
from harness.errors import InputError
from harness.record import RunRecord
from leaderboard.baseline import Baseline, Rule, cost_band, half_width, number_band, read_baseline
from leaderboard.baseline_update import make_baseline
from leaderboard.check import Check, check
from leaderboard.check_output import check_view, github_annotations, junit_xml, workflow_command
from tests.command import Command
from tests.record_samples import metric, record, stage

SEEDS = (0.50, 0.51, 0.49, 0.505, 0.495)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CODE = {"version": "0", "source_hash": "s0", "commit": "c" * 40, "dirty": False}
CRF = {"stages": {"pseudo": {"refiner": {"type": "CAMDenseCRF", "crf": {"bilateral_compat": 4.0}}}}}


def run(number: int, value: float, **changes: Any) -> RunRecord:
    """A run whose pseudo masks have this mIoU; everything else repeats unless `changes` say otherwise."""
    stages = changes.pop("stages", None) or [
        stage(
            "cam", type="train", key=f"cam {number}", seconds=changes.pop("cam_seconds", 100.0 + number % 3)
        ),
        stage(
            "seeds",
            metric("seed", value - 0.1, "fixed", 0.3),
            key=f"seeds {number}",
            seconds=1.0,
            memory=changes.pop("memory", 1 << 30),
        ),
        stage("pseudo_eval", metric("pseudo", value), key=f"pseudo {number}", seconds=2.0 + number),
    ]
    fields = {"run_id": f"run-{number}", "seed": number, "code": CODE, "config": CRF} | changes
    return record(*stages, **fields)


def baseline(*runs: RunRecord, **changes: Any) -> Baseline:
    found = runs or tuple(run(number, value) for number, value in enumerate(SEEDS))
    return make_baseline(found, made_by="Ada", made_at=NOW, rule=changes.pop("rule", Rule()), **changes)


def verdicts(outcome: Check) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in outcome.findings}


def text_of(outcome: Check, against: Baseline) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(check_view(outcome, against))
    return capture.get()


# Bands


def test_the_band_is_the_prediction_interval_of_the_text_book() -> None:
    # Hahn and Meeker's five measurements: mean 50.10, standard deviation 1.31, 95 % band of one more ± 3.98.
    values = (51.4, 49.5, 48.7, 49.3, 51.6)
    assert half_width(values, 0.95, runs=1) == pytest.approx(3.99, abs=0.01)


def test_many_baseline_runs_leave_the_spread_of_one_run() -> None:
    values = [float(norm.ppf((i + 0.5) / 2000)) for i in range(2000)]
    assert half_width(values, 0.99, 1) == pytest.approx(2.576, rel=0.01)
    assert half_width(values, 0.99, 4) == pytest.approx(2.576 / 2, rel=0.01)


def test_a_band_is_never_narrower_than_its_floor() -> None:
    rule = Rule(level=0.99, miou_floor=0.005, time_floor=0.2, memory_floor=0.1)
    same = [0.5] * 5
    assert number_band(same, rule).low == pytest.approx(0.495)
    time, memory = cost_band([10.0] * 5, rule, "time"), cost_band([10.0] * 5, rule, "host memory")
    assert (time.high, time.low) == pytest.approx((12.0, 10 / 1.2))
    assert memory.high == pytest.approx(11.0)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e6), min_size=3, max_size=9), st.integers(1, 5))
def test_cost_bands_are_ratios(values: list[float], runs: int) -> None:
    rule = Rule()
    band = cost_band(values, rule, "time", runs)
    scaled = cost_band([7 * value for value in values], rule, "time", runs)
    assert band.high / band.mean == pytest.approx(band.mean / band.low)
    assert scaled.high == pytest.approx(7 * band.high, rel=1e-6)


# What is found


def test_an_unharmed_run_passes() -> None:
    outcome = check(baseline(), [run(7, 0.502)])
    assert not outcome.failed
    assert set(verdicts(outcome).values()) == {"ok"}
    assert set(verdicts(outcome)) == {"seed (fixed), train", "pseudo, train", "time", "host memory"}


def test_a_number_below_its_band_is_a_regression_and_the_table_names_it_and_what_changed() -> None:
    broken = {"stages": {"pseudo": {"refiner": {"type": "CAMDenseCRF", "crf": {"bilateral_compat": 0.4}}}}}
    against = baseline()
    stages = run(7, 0.5).stages[:2] + run(7, 0.4).stages[2:]
    outcome = check(against, [run(7, 0.4, stages=stages, config=broken)])
    assert outcome.failed
    assert verdicts(outcome)["pseudo, train"] == "regression"
    assert verdicts(outcome)["seed (fixed), train"] == "ok"
    text = text_of(outcome, against)
    assert "stages.pseudo.refiner.crf.bilateral_compat: 4.0 → 0.4" in text
    line = next(line for line in text.splitlines() if line.startswith("│pseudo, train"))
    assert all(part in line for part in ("50.0", "40.0", "-10.0", "regression"))


def test_an_improvement_is_noted_and_passes() -> None:
    outcome = check(baseline(), [run(7, 0.7)])
    assert verdicts(outcome)["pseudo, train"] == "improved"
    assert not outcome.failed


def test_a_missing_number_fails_and_a_new_one_does_not() -> None:
    stages = [*run(7, 0.5).stages[:2], stage("seg_eval", metric("seg", 0.1))]
    outcome = check(baseline(), [run(7, 0.5, stages=stages)])
    assert verdicts(outcome)["pseudo, train"] == "missing"
    assert verdicts(outcome)["seg, val"] == "new"
    assert outcome.failed


@pytest.mark.parametrize(("values", "failed"), [((0.475,), False), ((0.475, 0.476, 0.475, 0.474), True)])
def test_the_mean_of_several_runs_has_a_narrower_band(values: tuple[float, ...], failed: bool) -> None:
    runs = [run(10 + number, value) for number, value in enumerate(values)]
    assert check(baseline(), runs).failed is failed


def test_lost_time_is_a_regression_that_names_the_stage() -> None:
    against = baseline()
    outcome = check(against, [run(7, 0.5, cam_seconds=200.0)])
    (finding,) = [finding for finding in outcome.findings if finding.failed]
    assert finding.name == "time"
    assert finding.note.startswith("cam 100.8 s → 200.0 s")


def test_lost_memory_is_a_regression_and_saved_memory_an_improvement() -> None:
    assert verdicts(check(baseline(), [run(7, 0.5, memory=2 << 30)]))["host memory"] == "regression"
    less = [run(number, value, memory=2 << 30) for number, value in enumerate(SEEDS)]
    assert verdicts(check(baseline(*less), [run(7, 0.5)]))["host memory"] == "improved"


# What is not compared


def other_hardware(**changes: Any) -> RunRecord:
    return run(7, 0.5, cam_seconds=500.0, hardware=run(7, 0.5).hardware.model_copy(update=changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cpu": "another CPU"}, "CPU another CPU, not CPU"),
        ({"usable_cpus": 64}, "CPUs 64, not 2"),
        ({"gpu_driver": "580.1"}, "GPU driver 580.1, not none"),
    ],
)
def test_other_hardware_has_no_time_and_memory_but_numbers(changes: dict[str, Any], reason: str) -> None:
    outcome = check(baseline(), [other_hardware(**changes)])
    assert not outcome.failed
    assert verdicts(outcome)["time"] == verdicts(outcome)["host memory"] == "not compared"
    assert verdicts(outcome)["pseudo, train"] == "ok"
    assert reason in outcome.refusals[0]


def test_a_kernel_update_is_the_same_hardware() -> None:
    assert verdicts(check(baseline(), [other_hardware(kernel="7", os="Debian 14")]))["time"] == "regression"


def test_reused_stages_have_no_time() -> None:
    reused = run(7, 0.5)
    reused.stages[0].state = "reused"
    outcome = check(baseline(), [reused])
    assert verdicts(outcome)["time"] == "not compared"
    assert "reused cam" in outcome.refusals[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "irn"}, "its method is irn, the baseline's is vwe"),
        ({"variant": "long"}, r"its method is vwe \(long\)"),
        ({"limit": 10}, "its --limit is 10, the baseline's is None"),
        ({"smoke": True}, "its --smoke is True"),
        ({"state": "failed"}, "it is failed"),
        ({"dataset": {"name": "shapes"}}, "its dataset is shapes"),
        ({"dataset": {"fingerprint": "f1"}}, r"its data are not the baseline's \(fingerprint f1, not f0\)"),
        ({"auxiliary": {"saliency": "h"}}, "its auxiliary maps are not the baseline's"),
        ({"weights": []}, "it started from the weights none, the baseline from resnet50 w0"),
    ],
)
def test_runs_that_mean_something_else_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check(baseline(), [run(7, 0.5, **changes)])


def test_a_run_that_took_a_stage_from_elsewhere_is_refused() -> None:
    other = run(7, 0.5)
    other.stages[0].state = "imported"
    with pytest.raises(InputError, match="its cam came from elsewhere"):
        check(baseline(), [other])


def test_a_mean_is_over_one_recipe() -> None:
    with pytest.raises(InputError, match="runs run-7 and run-8 are of different configs or code"):
        check(baseline(), [run(7, 0.5), run(8, 0.5, config={"stages": {}})])


def test_settings_that_the_schema_has_got_since_are_no_change() -> None:
    now = load_config(find_config("cam", "shapes")).model_dump(mode="json")
    then = json.loads(json.dumps(now))
    del then["stages"]["cam"]["train_cfg"]["log_to"]
    against = baseline(*(run(number, value, config=then) for number, value in enumerate(SEEDS)))
    assert check(against, [run(7, 0.5, config=now)]).changes == ()
    now["stages"]["cam"]["train_cfg"]["max_epochs"] = 1
    (change,) = check(against, [run(7, 0.5, config=now)]).changes
    assert (change.name, change.values) == ("stages.cam.train_cfg.max_epochs", ("4", "1"))


def test_another_ground_truth_is_refused() -> None:
    other = run(7, 0.5)
    assert other.stages[2].report
    other.stages[2].report.metrics[0].protocol.ground_truth = "SegmentationClassAug"
    with pytest.raises(InputError, match="over 1449 images of SegmentationClassAug, the baseline's"):
        check(baseline(), [other])


def test_the_same_measurement_twice_is_no_mean_of_two_runs() -> None:
    with pytest.raises(InputError, match="share stage 'seeds'"):
        check(baseline(), [run(7, 0.5), run(7, 0.5, run_id="again")])


# Making baselines


def test_a_baseline_survives_its_file(tmp_path: Path) -> None:
    made = baseline()
    made.write(tmp_path / "b.json")
    assert read_baseline(tmp_path / "b.json") == made
    assert (made.provenance.made_by, made.provenance.commit) == ("Ada", "c" * 40)
    assert [entry.run_id for entry in made.runs] == [f"run-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"code": CODE | {"dirty": True}}, "uncommitted changes"),
        ({"code": CODE | {"commit": None, "dirty": None}}, "belongs to no commit"),
        ({"code": CODE | {"commit": "d" * 40}}, "differ in commit;"),
        ({"config": {"stages": {}}}, "differ in config;"),
        ({"hardware": run(7, 0.5).hardware.model_copy(update={"cpu": "X"})}, "differ in hardware;"),
        ({"state": "interrupted"}, "it is interrupted"),
    ],
)
def test_a_baseline_needs_repetitions_of_one_commit(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        baseline(run(0, 0.5), run(1, 0.5), run(2, 0.5, **changes))


def test_a_baseline_needs_several_runs_that_did_their_own_work() -> None:
    with pytest.raises(InputError, match="at least 3 runs"):
        baseline(run(0, 0.5), run(1, 0.5))
    reused = run(2, 0.5)
    reused.stages[0].state = "reused"
    with pytest.raises(InputError, match="did not do cam itself"):
        baseline(run(0, 0.5), run(1, 0.5), reused)


def test_uncommitted_changes_are_taken_on_demand_and_told() -> None:
    dirty = [run(number, 0.5, code=CODE | {"dirty": True}) for number in range(3)]
    assert baseline(*dirty, allow_dirty=True).provenance.dirty is True


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema_version"),
        (lambda text: text[: len(text) // 2], "no baseline of schema 1"),
        (
            lambda text: json.dumps({**json.loads(text), "runs": json.loads(text)["runs"][:4]}),
            "one value for",
        ),
    ],
)
def test_a_broken_baseline_is_one_sentence(tmp_path: Path, spoil: Any, message: str) -> None:
    path = tmp_path / "b.json"
    baseline().write(path)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        read_baseline(path)
    assert "\n" not in str(caught.value)


# What CI is told


def test_junit_has_a_test_per_quantity() -> None:
    against = baseline()
    suite = ElementTree.fromstring(junit_xml(check(against, [other_hardware(cpu="A & B <\x00>")]), against))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "0", "2")
    skipped = suite.find("testcase[@name='time']/skipped")
    assert skipped is not None
    assert "CPU A & B <?>, not CPU" in str(skipped.get("message"))
    failed = ElementTree.fromstring(junit_xml(check(against, [run(7, 0.4)]), against))
    assert failed.get("failures") == "2"
    failure = failed.find("testcase[@name='pseudo, train']/failure")
    assert failure is not None
    assert "pseudo, train is 40.0, worse than the band" in str(failure.get("message"))


def test_annotations_are_one_command_each_whatever_they_hold() -> None:
    command = workflow_command("error", "a, b: c\n::error::d", "50 % lost\r\n::warning::x")
    assert command == "::error title=a%2C b%3A c%0A%3A%3Aerror%3A%3Ad::50 %25 lost%0D%0A::warning::x"
    against = baseline()
    lines = list(github_annotations(check(against, [run(7, 0.4)]), against))
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error"]
    assert not any("\n" in line for line in lines)


def written(record: RunRecord, work: Path) -> str:
    folder = work / "runs" / record.run_id
    folder.mkdir(parents=True)
    record.write(folder)
    return record.run_id


def test_the_command_updates_and_checks_with_its_exit_statuses(command: Command, tmp_path: Path) -> None:
    work, file, junit = tmp_path / "work", tmp_path / "base.json", tmp_path / "junit.xml"
    ids = [written(run(number, value), work) for number, value in enumerate(SEEDS)]
    good, bad = written(run(7, 0.5), work), written(run(8, 0.3), work)
    options = ("check", "--baseline", file, "--work-dir", work)
    made = command(*options, "--update", *(part for run_id in ids for part in ("--run", run_id)))
    assert (made.status, made.errors) == (0, "")
    assert command(*options, "--run", good).status == 0
    actions = Command({**command.env, "GITHUB_ACTIONS": "true"})
    failed = actions(*options, "--run", bad, "--junit", junit)
    assert failed.status == 1
    assert "::error title=regression check%2C vwe on voc::pseudo, train is 30.0" in failed.output
    assert ElementTree.parse(junit).getroot().get("failures") == "2"
    wrong = actions(*options, "--run", bad, "--run", bad)
    assert wrong.status == 2
    assert wrong.sentence == f"run {bad} is named twice: name each run once"
    assert wrong.output == f"::error title=regression check::{wrong.sentence}\n"
