from __future__ import annotations

import pytest
import torch

from harness.ops.random_walk import chebyshev_coefficients, propagate, random_walk, transition
from tests.dense_walk import dense_random_walk, dense_transition


def cam_and_edge(size: tuple[int, int], seed: int, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cam = torch.rand(classes, *size, generator=generator)
    return cam, (torch.rand(size, generator=generator) * 1.5 - 0.6).clip(0, 1)


def relative(ours: torch.Tensor, truth: torch.Tensor) -> float:
    return float((ours - truth).norm() / truth.norm())


@pytest.mark.parametrize("size", [(17, 22), (22, 17), (3, 30), (30, 3), (1, 1)])
def test_stencil_walk_equals_dense_matrix_power(size: tuple[int, int]) -> None:
    cam, edge = cam_and_edge(size, seed=1)
    truth = dense_random_walk(cam.double(), edge.double(), radius=5, beta=10, exp_times=8)
    assert relative(random_walk(cam.double(), edge.double()), truth) < 2e-6
    assert relative(random_walk(cam, edge), truth) < 2e-4  # the dense form in float32 is off by as much


@pytest.mark.parametrize(
    ("radius", "beta", "exp_times"), [(3, 4, 0), (3, 4, 1), (5, 8, 3), (5, 10, 6), (7, 2, 5)]
)
def test_walk_for_other_parameters(radius: int, beta: float, exp_times: int) -> None:
    cam, edge = cam_and_edge((13, 16), seed=2)
    settings = {"radius": radius, "beta": beta, "exp_times": exp_times}
    truth = dense_random_walk(cam.double(), edge.double(), **settings)
    assert relative(random_walk(cam, edge, **settings), truth) < 1e-4


def test_one_step_equals_one_dense_step() -> None:
    cam, edge = cam_and_edge((9, 11), seed=3)
    step = transition(edge, 5, 10)
    dense = cam.flatten(1) @ dense_transition(edge, 5, 10)
    torch.testing.assert_close(step.unflatten(step.step(step.flatten(cam))).flatten(1), dense)


def test_walk_keeps_constants_and_stays_between_the_seeds() -> None:
    cam, edge = cam_and_edge((20, 24), seed=4)
    step = transition(edge, 5, 10)
    torch.testing.assert_close(
        propagate(torch.ones_like(cam), step, 256), torch.ones_like(cam), rtol=0, atol=1e-3
    )
    walked = propagate(cam, step, 256)
    assert cam.min() - 1e-3 <= walked.min()
    assert walked.max() <= cam.max() + 1e-3


def test_closed_edge_separates_regions() -> None:
    edge = torch.zeros(12, 21)
    edge[:, 10] = 1
    cam = torch.zeros(1, 12, 21)
    cam[:, :, :10] = 1
    walked = random_walk(cam, edge)
    torch.testing.assert_close(walked[:, :, :10], torch.ones(1, 12, 10), rtol=0, atol=1e-3)
    assert walked[:, :, 10:].abs().max() < 1e-5


@pytest.mark.parametrize("power", [1, 2, 8, 256, 1024])
def test_chebyshev_series_is_the_power(power: int) -> None:
    coefficients = torch.tensor(chebyshev_coefficients(power), dtype=torch.float64)
    t = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    orders = torch.arange(len(coefficients), dtype=torch.float64)
    series = (torch.cos(orders[:, None] * torch.arccos(t)) * coefficients[:, None]).sum(0)
    assert (series - t**power).abs().max() < 1.1e-6


def test_256_steps_take_less_than_eighty() -> None:
    assert len(chebyshev_coefficients(256)) - 1 < 80
