"""What measuring costs: sampling must stay under 1 % of one core."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.monitor import Monitor
from harness.process_tree import TreeMemory

WORKERS = 4
SECONDS = 10.0


@pytest.fixture
def loaders() -> Iterator[None]:
    """Idle processes beside this one, as a training has data loaders."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=time.sleep, args=(600,), daemon=True) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    yield
    for worker in workers:
        worker.terminate()
        worker.join()


@pytest.mark.usefixtures("loaders")
def test_one_sample_of_a_process_tree(benchmark: BenchmarkFixture) -> None:
    tree = TreeMemory(psutil.Process())
    tree.sample()  # reads PSS, which later samples need only at a new high
    benchmark(tree.sample)


@pytest.mark.usefixtures("loaders")
def test_share_of_a_core_while_a_stage_runs(benchmark: BenchmarkFixture) -> None:
    ballast = bytearray(b"x") * (1 << 30)  # a GiB of resident memory makes PSS dear
    shares: list[float] = []

    def stage() -> None:
        before = time.process_time()
        with Monitor():
            time.sleep(SECONDS)
        shares.append((time.process_time() - before) / SECONDS)

    benchmark.pedantic(stage, rounds=1)
    assert len(ballast) == 1 << 30
    benchmark.extra_info["share_of_a_core_percent"] = [round(100 * share, 3) for share in shares]
    assert max(shares) < 0.01
