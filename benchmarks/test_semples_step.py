"""A step of SemPLeS against its straightforward form: pairs in a loop, texts each time, x_f encoded twice.

`--benchmark-only`; sizes are the paper's (DeiT-S, CLIP ViT-B/32, 224 pixels) but for the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from methods.semples.losses import cosine
from methods.semples.model import PromptGuidedRefinement

BATCH, CLASSES = 2, 20


@pytest.fixture(scope="module")
def model() -> PromptGuidedRefinement:
    torch.manual_seed(0)
    model = PromptGuidedRefinement(
        {"num_classes": CLASSES}, {}, "voc", back_weight=2.4, refine_weight=0.05, length=30
    ).train()
    model.learned.prompts.data.uniform_()
    return model


def straightforward(model: PromptGuidedRefinement, images: Tensor, labels: Tensor) -> Tensor:
    """Loss of (c) with gradients through the backbone's activations, all maps resized, pair by pair."""
    model.network.frozen = False
    for parameter in model.network.backbone.parameters():
        parameter.requires_grad_()
    maps = model.network.cams(model.network.features(images)).refined()
    large = F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=True)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    masks = (large - low) / (high - low + model.mask_eps)
    fronts, backs, texts, prompts = [], [], [], []
    for image in range(len(images)):
        for index in range(CLASSES):
            if labels[image, index]:
                fronts.append(masks[image, index] * images[image])
                backs.append((1 - masks[image, index]) * images[image])
                texts.append(model.clip.encode_text(model.tokens[index : index + 1])[0])
                prompts.append(model.learned.prompts[index])
    front, back = torch.stack(fronts), torch.stack(backs)
    text, prompt = torch.stack(texts), model.clip.prompt_features(torch.stack(prompts))
    fore = -cosine(model.clip.image_features(front), text).log().mean()
    behind = -(1 - cosine(model.clip.image_features(back), text)).clamp_min(1e-4).log().mean()
    refined = -(1 - cosine(model.clip.image_features(front), prompt)).clamp_min(1e-4).log().mean()
    return fore + model.back_weight * behind + model.refine_weight * refined


def ours(model: PromptGuidedRefinement, images: Tensor, labels: Tensor) -> Tensor:
    model.network.frozen = True
    model.network.backbone.requires_grad_(False)
    return torch.stack(list(model.loss(images, labels).values())).sum()


@pytest.mark.parametrize("form", [ours, straightforward], ids=["ours", "straightforward"])
def test_step(
    benchmark: BenchmarkFixture,
    model: PromptGuidedRefinement,
    form: Callable[[PromptGuidedRefinement, Tensor, Tensor], Tensor],
) -> None:
    images = torch.randn(BATCH, 3, 224, 224)
    labels = torch.zeros(BATCH, CLASSES)
    labels[0, [3, 14]] = labels[1, 7] = 1

    def step() -> None:
        model.zero_grad()
        form(model, images, labels).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
