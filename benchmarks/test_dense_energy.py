"""Dense energy loss, forward and backward, on one core: lattice, exact kernel, and a filter label by label.

At 448 pixels the energy is computed at 224. The exact kernel takes time quadratic in the pixels, so it is
measured at 112, where one is computed at 56. `pydensecrf`'s lattice, in C++ as the released one, cannot be
called alone: the time is that of a CRF of one iteration without its smoothness kernel, which builds the
lattice, filters once for the norm and once all labels, and takes two softmaxes. It has no backward.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydensecrf.densecrf import DenseCRF2D
from torch import Tensor

from harness.ops.dense_energy import Kernel, dense_energy_loss


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(size: int, labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, logits, ROI and labels of one crop."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(1, 3, size // 32, size // 32, generator=generator) * 255
    image = F.interpolate(low, size=(size, size), mode="bicubic").clamp(0, 255)
    image = (image + torch.randn(image.shape, generator=generator) * 3).clamp(0, 255)
    logits = torch.randn(1, labels, size // 16, size // 16, generator=generator) * 3
    logits = F.interpolate(logits, size=(size, size), mode="bilinear").requires_grad_()
    return image, logits, torch.ones(1, size, size), torch.zeros(1, size, size, dtype=torch.int64)


def step(size: int, labels: int, kernel: Kernel):
    image, logits, roi, label = inputs(size, labels)
    probabilities = logits.detach().softmax(1).requires_grad_()

    def forward_and_backward() -> None:
        probabilities.grad = None
        dense_energy_loss(image, probabilities, roi, label, kernel=kernel).backward()

    return forward_and_backward


@pytest.mark.parametrize("labels", [21, 81])
def test_loss_at_448(benchmark, labels: int) -> None:
    benchmark.group = f"energy loss at 448, {labels} labels"
    benchmark.pedantic(step(448, labels, "lattice"), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("labels", [21, 81])
def test_pydensecrf_at_448(benchmark, labels: int) -> None:
    benchmark.group = f"energy loss at 448, {labels} labels"
    image, logits, _, _ = inputs(448, labels)
    pixels = np.ascontiguousarray(image[0, :, ::2, ::2].permute(1, 2, 0).numpy().astype(np.uint8))
    half = F.avg_pool2d(logits.detach().softmax(1), 2)[0]
    unary = np.ascontiguousarray(-half.clamp(min=1e-5).log().flatten(1).numpy())

    def build_and_filter() -> None:
        crf = DenseCRF2D(224, 224, labels)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseBilateral(sxy=50, srgb=15, rgbim=pixels, compat=1)
        crf.inference(1)

    benchmark.pedantic(build_and_filter, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="energy loss at 112, 21 labels")
@pytest.mark.parametrize("kernel", ["lattice", "exact_scaled"])
def test_loss_at_112(benchmark, kernel: Kernel) -> None:
    benchmark.pedantic(step(112, 21, kernel), rounds=5, warmup_rounds=1)
