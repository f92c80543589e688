"""Random walk of 256 steps: stencil steps at full size, and against dense matrix powers on a small map."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.ops.random_walk import propagate, random_walk, transition
from tests.dense_walk import dense_power, dense_transition

SMALL, FULL = (32, 40), (94, 125)  # a dense matrix of the full size has 138 million entries


def cam_and_edge(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    edge = (torch.rand(size, generator=generator) * 1.5 - 0.6).clip(0, 1)
    return torch.rand(2, *size, generator=generator), edge


@pytest.mark.benchmark(group="walk on a full map")
def test_full_map(benchmark) -> None:
    benchmark(random_walk, *cam_and_edge(FULL))


@pytest.mark.benchmark(group="walk on a full map")
def test_full_map_step_by_step(benchmark) -> None:
    cam, edge = cam_and_edge(FULL)

    def walk() -> None:
        step = transition(edge, 5, 10)
        flat = step.flatten(cam)
        for _ in range(256):
            flat = step.step(flat)

    benchmark(walk)


@pytest.mark.benchmark(group="walk on a small map, transition given")
def test_small_map(benchmark) -> None:
    cam, edge = cam_and_edge(SMALL)
    benchmark(propagate, cam, transition(edge, 5, 10), 256)


@pytest.mark.benchmark(group="walk on a small map, transition given")
def test_small_map_by_dense_powers(benchmark) -> None:
    cam, edge = cam_and_edge(SMALL)
    dense = dense_transition(edge, 5, 10)
    benchmark(lambda: cam.flatten(1) @ dense_power(dense, 8))
