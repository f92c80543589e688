"""Prototypes, contrasts and compensation of RTC and PPC: batched, and looped as the specification words them.

The sizes are the paper's: a batch of 8, two views on a grid of 16 x 16, 21 classes.
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
from methods.rtc.model import RTC, View

BATCH, GRID, CLASSES, TEMPERATURE = 8, 16, 20, 0.1
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def views() -> tuple[View, View]:
    """Embeddings and refined CAMs of both views; the rest of a view is not looked at."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2):
        embedding = torch.rand(BATCH, 256, GRID, GRID, generator=generator).to(DEVICE).requires_grad_()
        refined = torch.rand(BATCH, CLASSES + 1, GRID, GRID, generator=generator).to(DEVICE)
        found.append(View(refined, refined, embedding, refined, None))
    return found[0], found[1]


def labels() -> Tensor:
    """Two classes per image."""
    first = torch.arange(BATCH, device=DEVICE)
    return (F.one_hot(first, CLASSES) + F.one_hot(first + 5, CLASSES)).float()


def batched() -> Callable[[tuple[View, View]], Tensor]:
    model = RTC(CLASSES, {"type": "ResNet38", "base_channels": 1}, segmentation={"width": 2})
    content = torch.ones(BATCH, GRID, GRID, dtype=torch.bool, device=DEVICE)
    present = F.pad(labels(), (1, 0), value=1.0)
    return lambda pair: sum(model.contrasts(*pair, model.guide(*pair, content, present)).values())


def looped() -> Callable[[tuple[View, View]], Tensor]:
    present = F.pad(labels(), (1, 0), value=1.0)

    def run(pair: tuple[View, View]) -> Tensor:
        cams = tuple(normalised_cam(view.refined_small, 0.2) for view in pair)
        marked = tuple(pseudo_labels(cam, present) for cam in cams)
        features = tuple(view.embedding for view in pair)
        return looped_rtc.contrasts(features, cams, marked, present.amax(0) > 0, TEMPERATURE)[0]

    return run


FORMS = {"looped": looped, "batched": batched}


@pytest.mark.benchmark(group="RTC, prototypes, contrasts and compensation with gradients")
@pytest.mark.parametrize("name", FORMS)
def test_contrasts(benchmark, name: str) -> None:
    run, pair = FORMS[name](), views()

    def step() -> float:
        loss = run(pair)
        loss.backward()
        return float(loss.detach())

    benchmark.extra_info["loss"] = benchmark.pedantic(step, rounds=10, iterations=1, warmup_rounds=2)


MINING = {
    "looped": lambda *arguments: looped_rtc.mined(*arguments, TEMPERATURE, (3, 13)),
    "batched": lambda *arguments: mined_contrast(*arguments, temperature=TEMPERATURE, hard=(3, 13)),
}


@pytest.mark.benchmark(group="PPC, contrast within a view with gradients")
@pytest.mark.parametrize("name", MINING)
def test_mining(benchmark, name: str) -> None:
    view, present = views()[0], F.pad(labels(), (1, 0), value=1.0)
    marked = pseudo_labels(normalised_cam(view.refined_small, 0.2), present)
    table = F.normalize(torch.rand(CLASSES + 1, 256, generator=torch.Generator().manual_seed(1))).to(DEVICE)
    priority = torch.rand(marked.shape, generator=torch.Generator().manual_seed(2)).to(DEVICE)

    def step() -> float:
        loss = MINING[name](view.embedding, marked, table, priority)
        loss.backward()
        return float(loss.detach())

    benchmark.extra_info["loss"] = benchmark.pedantic(step, rounds=3, iterations=1, warmup_rounds=1)
