"""The campaign of faults loses nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_after_every_fault_a_stage_ends_as_an_undisturbed_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    kills = re.search(r"│ SIGKILL at a random moment +│ (\d+) +│ (\d+) +│ (\d+) +│ 0 ", done.stdout)
    assert kills is not None, done.stdout
    times, hit, equal = map(int, kills.groups())
    assert times == equal >= 50
    assert hit >= 30  # the others came after the end
