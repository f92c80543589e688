"""The golden cases as part of the suite, and the runner's own honesty."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.golden import __main__ as runner
from tests.golden.case import ADAPTERS, Case, forget_tensors, load_adapters, load_cases, run_case

FILES = sorted(Path(__file__).parent.glob("*.json"))
CASES = [case for path in FILES for case in load_cases(path)]
load_adapters()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in one order (see `tests.golden.__main__`)."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def release_memory() -> Iterator[None]:
    """Leave the rest of the suite its memory."""
    yield
    forget_tensors()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}:{case.name}")
def test_the_authors_numbers_are_reproduced(case: Case) -> None:
    outcome = run_case(case)
    if outcome.status == "skip":
        pytest.skip(outcome.detail)
    assert outcome.status == "pass", f"{outcome.detail}: {outcome.error} over {case.tolerance}"


def a_quick_document() -> dict:
    document = json.loads((Path(__file__).parent / "vwe.json").read_text(encoding="utf-8"))
    chosen = [case for case in document["cases"] if case["name"] == "module.hspp.tiny"]
    return {"method": "vwe", "cases": copy.deepcopy(chosen)}


def write(path: Path, document: dict) -> str:
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def test_the_runner_accepts_any_file_with_right_numbers(tmp_path: Path) -> None:
    assert runner.main([write(tmp_path / "right.json", a_quick_document())]) == 0


@pytest.mark.parametrize("fault", ["value", "norm", "shape", "name", "output"])
def test_the_runner_fails_when_a_number_is_wrong_or_a_case_unknown(fault: str, tmp_path: Path) -> None:
    document = a_quick_document()
    case = document["cases"][0]
    digest = case["outputs"]["pooled"]
    if fault == "value":
        digest["value"][3] *= 1.001
    elif fault == "norm":
        digest["l2"] *= 1.001
    elif fault == "shape":
        digest["shape"] = [1, 48, 1, 1]
    elif fault == "name":
        case["name"] = "module.of_nobody"
    else:
        case["outputs"]["other"] = {"value": 1.0}
    assert runner.main([write(tmp_path / "wrong.json", document)]) == 1


@pytest.mark.parametrize(
    ("by_kernels", "other", "status"),
    [
        ((1.05, 1.015), 1.0, "pass"),  # kernels differ, and the nearer one is within twice the tolerance
        ((1.05, 1.03), 1.0, "FAIL"),  # the nearer one is not
        ((1.015, 1.015), 1.0, "FAIL"),  # kernels agree: the number is wrong
        ((1.05, 1.015), 1.015, "FAIL"),  # another number is wrong by all kernels
    ],
)
def test_a_number_that_kernels_leave_open_is_judged_by_the_nearer_one(
    by_kernels: tuple[float, float], other: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = torch.backends.mkldnn.enabled

    def of_kernels(case: Case) -> dict[str, float]:
        return {"sum": by_kernels[torch.backends.mkldnn.enabled != usual], "other": other}

    monkeypatch.setitem(ADAPTERS, "open", of_kernels)
    raw = {"name": "open", "inputs": {}, "outputs": {}, "tolerance": 0.01}
    raw["outputs"] = {"sum": {"value": 1.0}, "other": {"value": 1.0}}
    outcome = run_case(Case("none", raw))
    assert outcome.status == status
    assert ("kernels alone" in outcome.detail) == (status == "pass")
    assert torch.backends.mkldnn.enabled == usual


def test_the_runner_refuses_what_is_no_golden_file(tmp_path: Path) -> None:
    assert runner.main([write(tmp_path / "other.json", {"no": "cases"})]) == 2
    assert runner.main([str(tmp_path / "missing.json")]) == 2
