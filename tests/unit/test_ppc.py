"""PPC: its contrast within a view against a loop over pixels, its switches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import looped_rtc
from methods.modules.prototypes import contrast, log_probabilities
from methods.ppc.mining import mined_contrast, pixel_weights, rank_within_class
from methods.ppc.model import PPC

CLASSES, SIZE = 4, 64


def network(**settings: Any) -> PPC:
    torch.manual_seed(0)
    chosen = {"view_size": 32, "embedding": 8, "hard": (1, 4), **settings}
    return PPC(CLASSES, {"type": "ResNet38", "base_channels": 2}, **chosen).eval()


def batch() -> tuple[Tensor, Tensor]:
    coarse = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    image = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")
    return image, torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0]])


@pytest.mark.parametrize("hard", [(1, 4), (3, 13)])
def test_the_contrast_within_a_view_is_that_of_a_loop_over_pixels(hard: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 6, 5, 5, generator=generator).requires_grad_()
    labels = torch.randint(0, 7, (2, 5, 5), generator=generator)
    labels[labels == 5] = 3
    labels[0, 0, 0] = 8  # a class of one pixel, which has no term and is counted
    table = F.normalize(torch.rand(15, 6, generator=generator))
    priority = torch.rand(2, 5, 5, generator=generator)
    assert (labels == 8).sum() == 1
    found = mined_contrast(features, labels, table, priority, temperature=0.1, hard=hard)
    looped = looped_rtc.mined(features, labels, table, priority, 0.1, hard)
    torch.testing.assert_close(found, looped)
    torch.testing.assert_close(*(torch.autograd.grad(loss, features)[0] for loss in (found, looped)))


def test_cross_terms_are_those_of_a_loop_over_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 6, 5, 5, generator=generator)
    labels = torch.randint(0, 5, (2, 5, 5), generator=generator)
    table = F.normalize(torch.rand(7, 6, generator=generator))
    (found,) = log_probabilities(features, [table], 0.1)
    pixels = F.normalize(looped_rtc.rows(features))
    torch.testing.assert_close(contrast(found, labels), looped_rtc.information(pixels, labels, table, 0.1))


def test_pixels_are_ranked_within_their_class() -> None:
    labels = torch.tensor([2, 0, 2, 0, 0, 2])
    values = torch.tensor([0.3, 0.9, 0.1, 0.2, 0.9, 0.2])
    counts = torch.bincount(labels, minlength=4)
    assert rank_within_class(values, labels, counts).tolist() == [2, 1, 0, 0, 2, 1]


def test_half_of_a_class_is_chosen_by_priority_and_half_is_hard_but_not_the_hardest() -> None:
    labels = torch.zeros(10, dtype=torch.long)
    similarity = torch.arange(10.0).flip(0)  # the last pixel is the least similar
    weights = pixel_weights(similarity, labels, torch.arange(10), classes=3)
    chosen = torch.tensor([1.0] * 5 + [0] * 5)
    hard = torch.tensor([0.0] * 4 + [1] * 5 + [0])  # ranks 1 to 5 of the lowest six
    torch.testing.assert_close(weights, (chosen + hard) / 10)


def test_the_pixels_that_are_drawn_come_from_torch_and_touch_the_term_within_a_view_only() -> None:
    model = network()
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(model.loss(*batch()))
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    assert {n for n in losses[0] if not torch.equal(losses[0][n], losses[2][n])} == {"loss_intra"}


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ({"background_score": 0.9}, {"loss_cross_prototype", "loss_cross_label", "loss_intra"}),
        ({"background_pixels": "label"}, {"loss_cross_prototype", "loss_cross_label", "loss_intra"}),
        ({"temperature": 1.0}, {"loss_cross_prototype", "loss_cross_label", "loss_intra"}),
        ({"hard": (0, 3)}, {"loss_intra"}),
    ],
)
def test_a_switch_changes_its_terms_only(setting: dict[str, Any], changed: set[str]) -> None:
    losses = []
    for chosen in ({}, setting):
        model = network(**chosen)
        torch.manual_seed(3)
        losses.append(model.loss(*batch()))
    assert {n for n in losses[0] if not torch.equal(losses[0][n], losses[1][n])} == changed


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_channels_are_left_out_at_the_given_share(share: float) -> None:
    model = network(dropout=share).train()
    assert (model.maps(batch()[0]).embedding.abs().sum() == 0) == (share == 1)


def test_prototypes_get_no_gradient_and_maps_are_those_of_seam() -> None:
    model, (image, labels) = network(), batch()
    first, second = model.maps(image), model.maps(F.interpolate(image, size=(32, 32), mode="bilinear"))
    refined = (first.refined_small, second.refined_small)
    features = (F.interpolate(first.embedding, size=(4, 4), mode="bilinear"), second.embedding)
    guidance = model.guide(refined, features, labels)
    assert features[0].requires_grad
    assert not any(table.requires_grad for table in guidance.prototypes)
    assert guidance.labels[0].shape == (2, 4, 4)
    cam = model(image)
    assert cam.shape == (2, CLASSES, SIZE, SIZE)
    torch.testing.assert_close(cam, first.refined[:, 1:])
