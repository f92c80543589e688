"""The shipped VOC configs train as long and as fast as the released codes do."""

from __future__ import annotations

import pytest

from harness.config import find_config, load_config
from harness.schema import TrainStage
from harness.stages.train import Schedule

TRAIN_AUG = 10_582  # images


@pytest.mark.parametrize(
    ("method", "stage", "iterations", "lr", "momentum"),
    [
        ("cam", "cam", 661 * 5, 0.1, 1e-4),
        ("vwe", "cam", 661 * 6, 0.01, 1e-4),
        ("irn", "irn", 330 * 3, 0.1, 1e-4),
        ("vwe", "seg", 20_000, 1e-3, 0.9),
    ],
)
def test_shipped_recipe(method, stage, iterations, lr, momentum):
    config = load_config(find_config(method, "voc")).stages[stage]
    assert isinstance(config, TrainStage)
    schedule = Schedule.of(config.train_cfg, TRAIN_AUG, config.train_dataloader.batch_size, smoke=False)
    assert schedule.iterations == iterations
    optimizer = config.optim_wrapper["optimizer"]
    assert (optimizer["lr"], optimizer["momentum"]) == (lr, momentum)
    assert config.param_scheduler["power"] == 0.9
