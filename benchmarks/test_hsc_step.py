"""HSC's training step, and the small CRFs inside it.

On a GPU a step has the paper's batch of 12 and its crop. On a CPU it has 2 images, the least that the losses
take, in one round, and half the crop; `HSC_CROP=448` measures the paper's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from harness.ops.crf import crf_from_labels
from methods.hsc.label_crf import GT_PROB, PARAMETERS, exact_crf, lattice_crf
from methods.hsc.model import HSC

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BATCH, ROUNDS = (12, 20) if GPU else (2, 1)
CROP = int(os.environ.get("HSC_CROP", 448 if GPU else 224))
SAME = 1e-3  # relative difference of a loss up to which numbers count as the same


@dataclass(frozen=True)
class Mode:
    """A way to run the same step.

    Attributes:
        layout: of tensors with four dimensions.
        autocast: run the network in bfloat16.
        compiled: the network goes through `torch.compile`.
    """

    layout: torch.memory_format = torch.contiguous_format
    autocast: bool = False
    compiled: bool = False

    def context(self) -> AbstractContextManager[None]:
        return torch.autocast(DEVICE, torch.bfloat16) if self.autocast else nullcontext()


MODES = {
    "plain": Mode(),
    "channels-last": Mode(layout=torch.channels_last),
    "bfloat16": Mode(autocast=True),
    "compiled": Mode(compiled=True),
}


def network(mode: Mode) -> HSC:
    """HSC with the same random weights in every mode, dropout off so that losses can be compared."""
    torch.manual_seed(0)
    model = HSC(20, {"type": "ResNet38"}).to(DEVICE, memory_format=mode.layout).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.eval()
    if mode.compiled:
        model.backbone.compile()
    return model


def batch(mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(BATCH, 3, CROP // 16, CROP // 16, generator=generator)
    saliency = torch.rand(BATCH, 1, CROP // 16, CROP // 16, generator=generator)
    labels = F.one_hot(torch.arange(BATCH) % 20, 20).float()
    image, saliency = (F.interpolate(maps, scale_factor=16, mode="bilinear") for maps in (image, saliency))
    return image.to(DEVICE, memory_format=mode.layout), saliency.to(DEVICE), labels.to(DEVICE)


def forget_peak() -> None:
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> int:
    """Most memory since `forget_peak`, MiB: the allocator's on a GPU, the process's on a CPU."""
    if GPU:
        return torch.cuda.max_memory_allocated() >> 20
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


_plain: dict[str, float] = {}  # losses of the first mode, which the others are compared with


@pytest.mark.benchmark(group=f"HSC, training step at a crop of {CROP}")
@pytest.mark.parametrize("name", MODES)
def test_step(benchmark, name: str) -> None:
    mode = MODES[name]
    model, data = network(mode), batch(mode)
    optimizer = torch.optim.SGD(
        (p for p in model.parameters() if p.requires_grad), lr=0.01, weight_decay=5e-4
    )
    first: dict[str, float] = {}

    def step() -> None:
        with mode.context():
            terms = model.loss(*data)
        if not first:
            first.update({term: float(value.detach()) for term, value in terms.items()})
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        if GPU:
            torch.cuda.synchronize()

    forget_peak()
    try:
        benchmark.pedantic(step, rounds=ROUNDS, iterations=1, warmup_rounds=int(GPU or mode.compiled))
    except RuntimeError as error:
        if mode.compiled and "compiler" in str(error).lower():
            pytest.skip(f"torch.compile finds no compiler: {str(error).splitlines()[0]}")
        raise
    _plain.update(first if name == "plain" else {})
    worst = max(abs(first[term] - _plain[term]) / abs(_plain[term]) for term in _plain) if _plain else None
    benchmark.extra_info |= {"peak_mib": peak_mib(), "worst_difference_of_a_loss": worst, "batch": BATCH}
    if name == "channels-last" and worst is not None:
        assert worst < SAME


def crops() -> tuple[Tensor, Tensor]:
    """Images (12, 3, 16, 16) and pseudo labels (2, 12, 16, 16) as a step of the paper has them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(12, 3, 5, 5, generator=generator)
    scores = torch.randn(24, 21, 4, 4, generator=generator)
    images = F.interpolate(images, size=(16, 16), mode="bilinear") * 1.2
    labels = F.interpolate(scores, size=(16, 16), mode="bilinear").argmax(1).view(2, 12, 16, 16)
    return images.to(DEVICE), labels.to(DEVICE)


def one_after_the_other(images: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """As released: a CRF per map, each with round trips between the devices."""
    mean, deviation = (
        torch.tensor(values, device=images.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    pixels = (images * deviation + mean) * 255
    refined = []
    for view in labels:
        for image, label in zip(pixels, view, strict=True):
            picture = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy().astype(np.uint8))
            found, _ = crf_from_labels(picture, label.cpu().numpy(), num_labels, GT_PROB, PARAMETERS)
            refined.append(torch.from_numpy(found).to(labels.device))
    return torch.stack(refined).view(labels.shape)


CRFS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "one after the other": one_after_the_other,
    "an image's kernels once": lambda *arguments: lattice_crf(*arguments)(),
    "exact, on the device": lambda *arguments: exact_crf(*arguments)(),
}


@pytest.mark.benchmark(group="HSC, CRFs of 12 images in two views")
@pytest.mark.parametrize("name", CRFS)
def test_crfs(benchmark, name: str) -> None:
    images, labels = crops()

    def run() -> Tensor:
        found = CRFS[name](images, labels, 21)
        if GPU:
            torch.cuda.synchronize()
        return found

    found = benchmark(run)
    released = one_after_the_other(images, labels, 21)
    benchmark.extra_info["same_labels"] = float((found == released).float().mean())
    assert benchmark.extra_info["same_labels"] > 0.99
