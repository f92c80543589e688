"""MCC's training step with and without the passes that it saves, in one run, and what each of them computes.

On a GPU a step has the paper's network, crop and batch of 4. On a CPU the transformer is a quarter as wide,
and a step has one image.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.straightforward_mcc import StraightforwardMCC
from methods.mcc.model import MCC
from methods.toco.network import Batch

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BATCH, ROUNDS = (4, 20) if GPU else (1, 1)
CROP = 448
NETWORK: dict[str, Any] = {"backbone": {}}
if not GPU:
    NETWORK = {"backbone": {"embed_dim": 192, "num_heads": 3}, "decoder": {"channels": 128}}
SAME = 1e-4  # relative difference of a loss up to which numbers count as the same
FORMS: dict[str, type[MCC]] = {"straightforward": StraightforwardMCC, "visible tokens, shared passes": MCC}


def network(form: str) -> MCC:
    """A network of methods/mcc/voc.py after the decoder's warm-up, with random weights."""
    torch.manual_seed(0)
    model = FORMS[form](20, **NETWORK, phases={"contrast": 0, "seg": 0}, images_per_process=1)
    return model.to(DEVICE).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(3, BATCH, 3, CROP // 16, CROP // 16, generator=generator)
    views = [F.interpolate(view, scale_factor=16, mode="bilinear").to(DEVICE) for view in coarse]
    content = torch.ones(BATCH, CROP, CROP, dtype=torch.bool, device=DEVICE)
    return Batch(*views, content, F.one_hot(torch.arange(BATCH) % 20, 20).float().to(DEVICE))


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for name, value in losses.items() if name.startswith("loss_")]).sum()


def forget_peak() -> None:
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> int:
    """Most memory, MiB: the allocator's on a GPU, the process's on a CPU."""
    if GPU:
        return torch.cuda.max_memory_allocated() >> 20
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


_first: dict[str, dict[str, float]] = {}


@pytest.mark.benchmark(group="MCC, training step at the paper's crop")
@pytest.mark.parametrize("form", FORMS)
def test_step(benchmark, form: str) -> None:
    data, model = batch(), network(form)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=6e-5)
    counter = FlopCounterMode(display=False)
    forget_peak()

    def step() -> None:
        counts = nullcontext() if form in _first else counter
        optimizer.zero_grad()
        with counts:
            losses = model.loss(data)
            total(losses).backward()
        optimizer.step()
        _first.setdefault(form, {name: float(value.detach()) for name, value in losses.items()})
        if GPU:
            torch.cuda.synchronize()

    torch.manual_seed(2)  # the key masks
    before = process_time()
    benchmark.pedantic(step, rounds=ROUNDS, iterations=1, warmup_rounds=int(GPU))
    reference = _first.get("straightforward", _first[form])
    worst = max(abs(_first[form][n] - value) / max(abs(value), 1e-6) for n, value in reference.items())
    benchmark.extra_info |= {
        "giga_multiply_adds_per_image": round(
            counter.get_total_flops() / 2e9 / BATCH
        ),  # forward and backward
        "processor_seconds": round((process_time() - before) / (ROUNDS + int(GPU)), 1),
        "peak_mib": peak_mib(),
        "worst_difference_of_a_loss": worst,
        "batch": BATCH,
    }
    assert worst < SAME
