"""HSC's losses over the whole batch: two processes with half a batch each train as one with all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from methods.hsc.model import HSC
from methods.modules.whole_batch import whole_batch

PROCESSES = 2


def network() -> HSC:
    """A narrow HSC whose norms keep their statistics, so that samples meet only in the losses."""
    torch.manual_seed(0)
    model = HSC(
        3,
        {"type": "ResNet38", "base_channels": 2, "frozen_stages": 0},
        view_size=48,
        label_crf="exact",
        top_loss=16,
        top_update=4,
        pixel_channels=8,
        region_channels=8,
    )
    for parameter in model.fc8.parameters():
        parameter.data *= 20  # CAMs that differ, so that no choice of pixels is a matter of rounding
    return model.eval()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(4, 3, 96, 96, generator=generator),
        "saliency": torch.rand(4, 1, 96, 96, generator=generator),
        # Classes that only one of the processes has, and one that both have.
        "labels": torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1]]),
    }


class Total(torch.nn.Module):
    """The sum of the terms as a module, as DistributedDataParallel wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()

    def forward(self, **data: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.model.loss(**data)
        return sum(terms.values()), terms


def step(total: torch.nn.Module, model: HSC, data: dict[str, Tensor]) -> dict[str, Any]:
    loss, terms = total(**data)
    loss.backward()
    return {
        "terms": {name: term.detach() for name, term in terms.items()},
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "banks": dict(model.banks()),
    }


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    total = Total()
    share = {name: tensor.chunk(PROCESSES)[rank] for name, tensor in batch().items()}
    # A second step meets the banks of the first.
    wrapped = DistributedDataParallel(total)
    step(wrapped, total.model, share)
    total.zero_grad()
    torch.save(step(wrapped, total.model, share), Path(folder) / f"{rank}.pth")
    dist.destroy_process_group()


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(work, (str(tmp_path),), nprocs=PROCESSES)
    total = Total()
    step(total, total.model, batch())
    total.zero_grad()
    alone = step(total, total.model, batch())
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(PROCESSES))
    assert {"loss_rsc", "loss_csc", "loss_psc"} <= set(alone["terms"])
    for name, expected in alone["terms"].items():
        whole = name in ("loss_rsc", "loss_csc", "loss_psc")
        if whole:
            assert torch.equal(first["terms"][name], second["terms"][name])
        mean = (first["terms"][name] + second["terms"][name]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert set(first["gradients"]) == set(alone["gradients"])
    for name, expected in alone["gradients"].items():
        scale = float(expected.norm())
        for process in (first, second):
            difference = float((process["gradients"][name] - expected).norm())
            assert difference <= 1e-4 * scale + 1e-6, name
    for name, expected in alone["banks"].items():
        for process in (first, second):
            torch.testing.assert_close(process["banks"][name], expected, rtol=1e-4, atol=1e-5)


def test_a_single_process_keeps_its_batch() -> None:
    part = torch.ones(2, 3)
    assert whole_batch(part) is part
