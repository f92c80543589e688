"""The regression check as CI does it: the committed baseline, a sound and a broken run."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.command import Command, Outcome
from tests.e2e.work_folder import last_record, states

pytestmark = pytest.mark.slow

BASELINE = Path(__file__).parents[2] / "benchmarks" / "baselines" / "cam-shapes-check.json"
RUN = ("run", "--method", "cam", "--dataset", "shapes", "--variant", "check", "--executor", "local")
BROKEN = "stages.pseudo.refiner.crf.bilateral_compat=0.4"


@pytest.fixture(scope="module")
def work(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run of the present code."""
    work = tmp_path_factory.mktemp("regression") / "work"
    outcome = command(*RUN, "--work-dir", work)
    assert outcome.status == 0, outcome
    return work


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline as if made on other hardware: how long a loaded machine takes is nothing to fail for."""
    document = json.loads(BASELINE.read_text(encoding="utf-8"))
    document["provenance"]["hardware"]["cpu"] = "another CPU"
    path = tmp_path_factory.mktemp("baseline") / "elsewhere.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def check(command: Command, work: Path, baseline: Path, *options: str | Path) -> Outcome:
    """Check the latest run."""
    run_id = last_record(work).run_id
    return command("check", "--baseline", baseline, "--run", run_id, "--work-dir", work, *options)


def test_the_present_code_measures_what_the_baseline_did(
    command: Command, work: Path, elsewhere: Path
) -> None:
    outcome = check(command, work, elsewhere)
    assert outcome.status == 0, outcome.output
    assert "regression" not in outcome.output
    assert "hardware is another: CPU" in outcome.output


def test_a_broken_weight_of_the_crf_is_caught_and_named(
    command: Command, work: Path, elsewhere: Path, tmp_path: Path
) -> None:
    broken = command(*RUN, "--work-dir", work, "--set", BROKEN)
    assert broken.status == 0, broken
    assert states(work)["cam"] == "reused"
    junit = tmp_path / "junit.xml"
    outcome = check(command, work, elsewhere, "--junit", junit, "--github")
    assert outcome.status == 1
    (line,) = (line for line in outcome.output.splitlines() if "regression" in line and "│" in line)
    assert "pseudo, train" in line
    assert "stages.pseudo.refiner.crf.bilateral_compat: 4.0 → 0.4" in outcome.output
    assert "::error title=" in outcome.output
    failed = [
        case.get("name")
        for case in ElementTree.parse(junit).iter("testcase")
        if case.find("failure") is not None
    ]
    assert failed == ["pseudo, train"]
