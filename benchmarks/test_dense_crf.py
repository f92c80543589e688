"""Dense CRF of one image of 333 x 500 on torch and on `pydensecrf`, both on one core.

`confident` scores are those of a network that is sure of three labels but for their borders, so that the
others are proved to lose; of `open` scores every label stays. Of a batch on two processes, wall time is the
measurement and the processor time of the tasks stands beside it, for machines that are not idle. On these,
`--benchmark-timer=time.process_time` measures the other ones.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness.ops.crf import crf_from_probabilities
from harness.ops.crf_parameters import Backend
from harness.ops.crf_refiner import SEGMENTATION_CRF
from harness.ops.permutohedral import PermutohedralLattice, build_lattice

SIZE = (333, 500)
MARGIN = {"confident": 26.0, "open": 3.0}
BATCH, PROCESSES = 8, 2


def photograph(seed: int = 0) -> np.ndarray:
    """Shades, edges and grain, of which half the vertices of the lattice are touched by one pixel."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(1, 3, 12, 16, generator=generator) * 200 + 20
    shades = F.interpolate(low, size=SIZE, mode="bicubic")[0] + torch.randn(3, *SIZE, generator=generator) * 4
    return shades.clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)


def probabilities(labels: int, margin: float) -> np.ndarray:
    """(C, H, W) from logits at a stride of 16, of which three labels are raised where they are."""
    generator = torch.Generator().manual_seed(1)
    low = torch.randn(1, labels, 21, 32, generator=generator)
    areas = torch.randint(0, min(3, labels), (1, 1, 3, 4), generator=generator).float()
    winner = F.interpolate(areas, size=(21, 32), mode="nearest").long()
    low.scatter_add_(1, winner, torch.full((1, 1, 21, 32), margin))
    return F.interpolate(low, size=SIZE, mode="bilinear")[0].softmax(0).numpy()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("backend", ["torch", "pydensecrf"])
@pytest.mark.parametrize("scores", ["confident", "open"])
@pytest.mark.parametrize("labels", [2, 21, 81])
def test_crf(benchmark, labels: int, scores: str, backend: str) -> None:
    benchmark.group = f"CRF of 333 x 500, {labels} labels, {scores}"
    parameters = replace(SEGMENTATION_CRF, backend=backend)
    arguments = (photograph(), probabilities(labels, MARGIN[scores]), parameters)
    label, _ = benchmark.pedantic(crf_from_probabilities, arguments, rounds=3, warmup_rounds=1)
    reference, _ = crf_from_probabilities(*arguments[:2], SEGMENTATION_CRF)
    assert (label == reference).mean() >= 0.998


def task(seed: int, backend: Backend) -> float:
    """CRF of one image of the batch in a process of the pool: its processor time in seconds."""
    torch.set_num_threads(1)
    image, probability = photograph(seed), probabilities(21, MARGIN["open"])
    before = time.process_time()
    crf_from_probabilities(image, probability, replace(SEGMENTATION_CRF, backend=backend))
    return time.process_time() - before


@pytest.mark.parametrize("backend", ["torch", "pydensecrf"])
def test_batch_of_images(benchmark, backend: Backend) -> None:
    benchmark.group = f"CRF of {BATCH} images of 333 x 500, 21 labels, open, {PROCESSES} processes"
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(task, range(PROCESSES), [backend] * PROCESSES))  # processes start and import

        def batch() -> float:
            return sum(pool.map(task, range(BATCH), [backend] * BATCH))

        seconds = benchmark.pedantic(batch, rounds=1)
    benchmark.extra_info["processor_seconds"] = round(seconds, 2)


@pytest.fixture(scope="module")
def lattice() -> PermutohedralLattice:
    row, column = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
    colour = torch.from_numpy(photograph()).reshape(-1, 3) / 3
    return build_lattice(torch.cat([torch.stack([column, row], -1).reshape(-1, 2) / 67, colour], dim=1))


@pytest.mark.benchmark(group="one blur of 21 values on the lattice")
@pytest.mark.parametrize("product", ["embedding_bag", "mkl"])
def test_product(benchmark, lattice: PermutohedralLattice, product: str) -> None:
    blur, values = lattice.blurs[2], torch.rand(lattice.vertices, 21)
    if product == "embedding_bag":
        benchmark(lambda: blur @ values)
    else:
        matrix = torch.sparse_csr_tensor(blur.starts, blur.indices, blur.values, size=blur.shape)
        benchmark(lambda: matrix @ values)
