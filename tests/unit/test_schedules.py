"""The schedule that mmengine does not have, alone and in a training that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.schedules import HeldPolyLR
from harness.stages import train_hooks
from tests.tiny_stages import TRAIN, run, same, weights_of

HELD: dict[str, Any] = {**TRAIN, "param_scheduler": {"type": "HeldPolyLR", "power": 0.9, "max_steps": 4}}
EXPECTED = [0.1 * (1 - min(step, 3) / 4) ** 0.9 for step in range(6)]  # TRAIN: rate 0.1, 6 iterations


def test_the_rate_decays_and_then_stays() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = HeldPolyLR(optimizer, max_steps=4, power=0.9, by_epoch=False)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(EXPECTED)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate before every iteration of the trainings of a test."""
    seen: list[float] = []

    def note(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
        seen.append(runner.optim_wrapper.get_lr()["lr"][0])

    monkeypatch.setattr(train_hooks.StageProgress, "before_train_iter", note)
    return seen


@pytest.mark.parametrize("killed_after", [2, 5])
def test_a_resumed_training_goes_on_with_its_rate(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch, rates: list[float], killed_after: int
) -> None:
    run(tmp_path / "whole", shapes_root, HELD)
    assert rates == pytest.approx(EXPECTED)
    rates.clear()
    original = train_hooks.ResumePoints.after_train_iter

    def then_die(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
        original(self, runner, *arguments, **named)
        if runner.iter + 1 == killed_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_hooks.ResumePoints, "after_train_iter", then_die)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", shapes_root, HELD)
    monkeypatch.setattr(train_hooks.ResumePoints, "after_train_iter", original)
    resumed_at = killed_after // 2 * 2  # a point of resumption every second iteration
    rates.clear()
    assert run(tmp_path / "killed", shapes_root, HELD).resumed_at == resumed_at
    assert rates == pytest.approx(EXPECTED[resumed_at:])
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))
