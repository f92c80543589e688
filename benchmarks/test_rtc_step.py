"""Prototypes, contrasts and compensation of RTC and PPC: batched, and looped as the specification words them.

The sizes are the paper's: a batch of 8, two views on a grid of 16 x 16, 21 classes, two of them in an image.
Both forms make of the same features and refined CAMs the contrasts with their gradients and the compensated
CAMs, of which the batched one only has what the structure loss looks at.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import looped_rtc
from methods.modules.prototypes import normalised_cam, pseudo_labels
from methods.ppc.mining import mined_contrast
from methods.rtc.model import RTC

BATCH, GRID, CLASSES, TEMPERATURE = 8, 16, 20, 0.1
Pair = tuple[Tensor, Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def views() -> tuple[Pair, Pair]:
    """Features and refined CAMs of both views."""
    generator = torch.Generator().manual_seed(0)
    features, refined = (
        torch.rand(2, BATCH, channels, GRID, GRID, generator=generator).to(DEVICE)
        for channels in (256, CLASSES + 1)
    )
    return (features[0].requires_grad_(), features[1].requires_grad_()), (refined[0], refined[1])


def labels() -> Tensor:
    """Two classes per image."""
    first = torch.arange(BATCH, device=DEVICE)
    return (F.one_hot(first, CLASSES) + F.one_hot(first + 5, CLASSES)).float()


Form = Callable[[Pair, Pair], tuple[Tensor, Pair]]


def batched() -> Form:
    model = RTC(CLASSES, {"type": "ResNet38", "base_channels": 1}, segmentation={"width": 2})
    content = torch.ones(BATCH, GRID, GRID, dtype=torch.bool, device=DEVICE)
    present = F.pad(labels(), (1, 0), value=1.0)
    own = F.pad(labels(), (1, 0))

    def run(features: Pair, refined: Pair) -> tuple[Tensor, Pair]:
        guidance = model.guide(refined, features, content, present)
        compensated = model.compensated(features, guidance, own)
        return torch.stack(list(model.contrasts(features, guidance).values())).sum(), compensated

    return run


def looped() -> Form:
    present = F.pad(labels(), (1, 0), value=1.0)

    def run(features: Pair, refined: Pair) -> tuple[Tensor, Pair]:
        cams = tuple(normalised_cam(maps, 0.2) for maps in refined)
        marked = tuple(pseudo_labels(cam, present) for cam in cams)
        return looped_rtc.contrasts(features, cams, marked, present.amax(0) > 0, TEMPERATURE)

    return run


FORMS = {"looped": looped, "batched": batched}


@pytest.mark.benchmark(group="RTC, prototypes, contrasts and compensation with gradients")
@pytest.mark.parametrize("name", FORMS)
def test_contrasts(benchmark, name: str) -> None:
    run, (features, refined) = FORMS[name](), views()

    def step() -> float:
        loss, _ = run(features, refined)
        torch.autograd.grad(loss, features)
        return float(loss.detach())

    benchmark.extra_info["loss"] = benchmark.pedantic(step, rounds=10, iterations=1, warmup_rounds=2)


MINING = {
    "looped": lambda *arguments: looped_rtc.mined(*arguments, TEMPERATURE, (3, 13)),
    "batched": lambda *arguments: mined_contrast(*arguments, temperature=TEMPERATURE, hard=(3, 13)),
}


@pytest.mark.benchmark(group="PPC, contrast within a view with gradients")
@pytest.mark.parametrize("name", MINING)
def test_mining(benchmark, name: str) -> None:
    (features, refined), present = views(), F.pad(labels(), (1, 0), value=1.0)
    marked = pseudo_labels(normalised_cam(refined[0], 0.2), present)
    table = F.normalize(torch.rand(CLASSES + 1, 256, generator=torch.Generator().manual_seed(1))).to(DEVICE)
    priority = torch.rand(marked.shape, generator=torch.Generator().manual_seed(2)).to(DEVICE)

    def step() -> float:
        loss = MINING[name](features[0], marked, table, priority)
        torch.autograd.grad(loss, features[0])
        return float(loss.detach())

    benchmark.extra_info["loss"] = benchmark.pedantic(step, rounds=3, iterations=1, warmup_rounds=1)
