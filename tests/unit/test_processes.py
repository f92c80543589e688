"""Worker pools: any order, first error, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.processes import map_unordered
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
_worker: dict[str, Any] = {}


def begin(offset: int) -> None:
    _worker["offset"] = offset


def shifted_square(item: int) -> int:
    return item * item + _worker["offset"]


def fail_at_three(item: int) -> int:
    if item == 3:
        raise OSError(28, "No space left on device")
    time.sleep(0.01)
    return item


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_item_comes_back_once_with_its_result(workers: int) -> None:
    found = list(map_unordered(shifted_square, range(50), workers, begin, (7,)))
    assert sorted(found) == [(item, item * item + 7) for item in range(50)]


def test_nothing_to_do_is_done() -> None:
    assert list(map_unordered(shifted_square, [], 2, begin, (0,))) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_stops_the_work_and_keeps_its_type_and_number(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10_000):  # a hundredth of a second each, for whoever does not get the third
            taken.append(item)
            yield item

    with pytest.raises(OSError, match="No space left") as caught:
        list(map_unordered(fail_at_three, items(), workers, begin, (0,)))
    assert caught.value.errno == 28
    assert len(taken) < 5_000


def test_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_unordered(shifted_square, items(), 2, begin, (0,))
    next(results)
    assert len(taken) < 20
    results.close()


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "from tests.unit.test_processes import *\n"
        "def sleep(item):\n"
        # One write each: lines of two processes that are printed in pieces can mix.
        "    os.write(1, b'%d\\n' % os.getpid())\n"
        "    time.sleep(9999)\n"
        "list(map_unordered(sleep, range(2), 2, begin, (0,)))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        assert all(worker.ppid() == parent.pid for worker in workers)
        os.kill(parent.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    assert [w for w in alive if w.status() != psutil.STATUS_ZOMBIE] == []
