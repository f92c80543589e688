"""PAR of one image at 224 x 224 with two stacks of masks: by slices, or in the straightforward form.

The straightforward form is that of the released codes: neighbours by convolution with one-hot kernels, all 48
in memory, and everything once per stack.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.ops.pixel_adaptive import DILATIONS, PixelAdaptive, par_weights
from tests.unit.test_pixel_adaptive import stacked

LABELS = 3  # background and two classes


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 224, 224, generator=generator)
    stacks = torch.rand(2, 1, LABELS, 224, 224, generator=generator).softmax(2)
    return image, stacks[0], stacks[1]


def straightforward(image: Tensor, masks: Tensor) -> Tensor:
    near = stacked(image, DILATIONS)
    deviation = near.std(dim=2, keepdim=True)
    colour = -(((near - image[:, :, None]).abs() / (deviation + 1e-8) / 0.3) ** 2).mean(1, keepdim=True)
    distance = torch.tensor([d for step in DILATIONS for d in _ring(step)])
    position = (-((distance / (distance.std() + 1e-8) / 0.3) ** 2)).softmax(0)
    weights = colour.softmax(2) + 0.01 * position.reshape(1, 1, -1, 1, 1)
    for _ in range(10):
        masks = (stacked(masks, DILATIONS) * weights).sum(2)
    return masks


def _ring(step: int) -> list[float]:
    diagonal = step * 2**0.5
    return [diagonal, step, diagonal, step, step, diagonal, step, diagonal]


@pytest.mark.benchmark(group="PAR of two stacks at 224 x 224")
def test_slices(benchmark) -> None:
    image, high, low = inputs()
    refine = PixelAdaptive("par")

    def both() -> Tensor:
        return refine.refine(torch.cat([high, low], dim=1), par_weights(image))

    ours = benchmark.pedantic(both, rounds=5, warmup_rounds=1)
    expected = torch.cat([straightforward(image, stack) for stack in (high, low)], dim=1)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.benchmark(group="PAR of two stacks at 224 x 224")
def test_one_hot_convolutions(benchmark) -> None:
    image, *stacks = inputs()
    benchmark.pedantic(lambda: [straightforward(image, stack) for stack in stacks], rounds=5, warmup_rounds=1)
