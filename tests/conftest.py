"""What all tests share: processes that they are spread over, a small dataset, the command of a user."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from harness.data.shapes import generate_shapes
from tests.command import Command

ROOT = Path(__file__).parents[1]
_MOST_WORKERS = 8  # each takes up to 2 GB, and the longest file bounds what more of them could gain


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `--numprocesses auto` starts; 0 keeps the tests of one file in this process."""
    places = {ROOT / argument.split("::")[0] for argument in config.args}
    if len(places) == 1 and next(iter(places)).is_file():
        return 0
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


def pytest_configure(config: pytest.Config) -> None:
    """Give each process one thread, as others fill the other cores, and all workers the same order of sets.

    They must agree on the names of tests, and some are made of sets. What tests start is not told of it.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    if hasattr(config, "workerinput"):
        os.environ.pop("PYTHONHASHSEED", None)
    elif config.getoption("numprocesses", None):
        os.environ["PYTHONHASHSEED"] = str(random.randrange(1 << 32))


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated dataset of 24 training and 12 held-out images."""
    root = tmp_path_factory.mktemp("data") / "small shapes"
    generate_shapes(root, train=16, train_aug=24, val=12, workers=1)
    return root


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The `harness` command with a cache folder of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    env |= {
        "HARNESS_CACHE": str(tmp_path_factory.mktemp("cache")),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    return Command(env)
