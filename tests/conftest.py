"""What several test files share: a small dataset, and the `harness` command as a user starts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.data.shapes import generate_shapes
from tests.command import Command

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated dataset of 24 training and 12 held-out images."""
    root = tmp_path_factory.mktemp("data") / "small shapes"
    generate_shapes(root, train=16, train_aug=24, val=12, workers=1)
    return root


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The `harness` command with a cache folder of its own and one thread per process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    env |= {
        "HARNESS_CACHE": str(tmp_path_factory.mktemp("cache")),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    return Command(env)
