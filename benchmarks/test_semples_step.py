"""Steps of SemPLeS against their straightforward form: pairs in a loop, texts each time, x_f encoded twice.

`--benchmark-only --benchmark-timer=time.process_time`; sizes are the paper's (DeiT-S, CLIP ViT-B/32, 224
pixels) but for the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from methods.semples.losses import cosine
from methods.semples.model import PromptGuidedRefinement, SegmentLabelMatching

BATCH, CLASSES = 2, 20


@pytest.fixture(scope="module", params=["match", "cam"])
def model(request: pytest.FixtureRequest) -> SegmentLabelMatching:
    torch.manual_seed(0)
    if request.param == "match":
        return SegmentLabelMatching({"num_classes": CLASSES}, {}, "voc", back_weight=2.4).train()
    model = PromptGuidedRefinement(
        {"num_classes": CLASSES}, {}, "voc", back_weight=2.4, refine_weight=0.05, length=30
    ).train()
    model.learned.prompts.data.uniform_()
    return model


def straightforward(model: SegmentLabelMatching, images: Tensor, labels: Tensor) -> Tensor:
    """Loss of (a) or (c): gradients through the backbone's activations, all maps resized, pair by pair."""
    model.network.frozen = False
    for parameter in model.network.backbone.parameters():
        parameter.requires_grad_()
    maps = model.network.cams(model.network.features(images)).refined()
    large = F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=True)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    masks = (large - low) / (high - low + model.mask_eps)
    fronts, backs, texts, classes = [], [], [], []
    for image in range(len(images)):
        for index in range(CLASSES):
            if labels[image, index]:
                fronts.append(masks[image, index] * images[image])
                backs.append((1 - masks[image, index]) * images[image])
                texts.append(model.clip.encode_text(model.tokens[index : index + 1])[0])
                classes.append(index)
    front, back, text = torch.stack(fronts), torch.stack(backs), torch.stack(texts)
    fore = -cosine(model.clip.image_features(front), text).log().mean()
    behind = -(1 - cosine(model.clip.image_features(back), text)).clamp_min(1e-4).log().mean()
    loss = fore + model.back_weight * behind
    if isinstance(model, PromptGuidedRefinement):
        prompt = model.clip.prompt_features(model.learned.prompts[classes])
        refined = -(1 - cosine(model.clip.image_features(front), prompt)).clamp_min(1e-4).log().mean()
        loss = loss + model.refine_weight * refined
    return loss


def ours(model: SegmentLabelMatching, images: Tensor, labels: Tensor) -> Tensor:
    model.network.frozen = True
    model.network.backbone.requires_grad_(False)
    return torch.stack(list(model.loss(images, labels).values())).sum()


@pytest.mark.parametrize("form", [ours, straightforward], ids=["ours", "straightforward"])
def test_step(
    benchmark: BenchmarkFixture,
    model: SegmentLabelMatching,
    form: Callable[[SegmentLabelMatching, Tensor, Tensor], Tensor],
) -> None:
    images = torch.randn(BATCH, 3, 224, 224)
    labels = torch.zeros(BATCH, CLASSES)
    labels[0, [3, 14]] = labels[1, 7] = 1

    def step() -> None:
        model.zero_grad()
        form(model, images, labels).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
