from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.ops.dense_energy import IGNORE, bilateral_features, dense_energy_loss
from harness.ops.permutohedral import build_lattice

SIZE, CLASSES = (24, 32), 4


def inputs(dtype: torch.dtype = torch.float32, size: tuple[int, int] = SIZE) -> dict[str, Tensor]:
    """Two images with a padded border and some ignored pixels."""
    generator = torch.Generator().manual_seed(3)
    low = torch.rand(2, 3, 4, 5, generator=generator, dtype=dtype) * 255
    logits = torch.randn(2, CLASSES, 4, 5, generator=generator, dtype=dtype) * 2
    image, logit = (F.interpolate(maps, size=size, mode="bilinear") for maps in (low, logits))
    roi = torch.zeros(2, *size)
    roi[:, 2:, :-4] = 1
    labels = torch.zeros(2, *size, dtype=torch.int64)
    labels[:, :, ::3] = IGNORE
    return {"images": image, "probabilities": logit.softmax(1), "roi": roi, "labels": labels}


def loss_and_gradient(given: dict[str, Tensor], **settings: Any) -> tuple[Tensor, Tensor]:
    probabilities = given["probabilities"].clone().requires_grad_()
    loss = dense_energy_loss(**(given | {"probabilities": probabilities}), **settings)
    return loss.detach(), torch.autograd.grad(loss, probabilities)[0]


def test_released_gradient_is_the_stated_formula() -> None:
    given = inputs()
    _, ours = loss_and_gradient(given, weight=0.1)
    half = F.avg_pool2d(given["probabilities"], 2)
    roi, labels = given["roi"][:, None, ::2, ::2], given["labels"][:, None, ::2, ::2]
    gate = torch.where(labels == IGNORE, 1.0, (roi - half.amax(1, keepdim=True)).clamp(min=0))
    expected = torch.empty_like(half)
    for image in range(2):
        features = bilateral_features(given["images"][image : image + 1, :, ::2, ::2], 50, 15)[0]
        soft = (half[image] * roi[image]).flatten(1).t()
        expected[image] = build_lattice(features).filter(soft).t().reshape(half[image].shape)
    expected *= -2 * 0.1 / 2 * gate * roi
    spread = F.interpolate(expected, scale_factor=2, mode="nearest") / 4
    torch.testing.assert_close(ours, spread, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kernel", ["lattice", "exact_scaled"])
def test_true_gradient_is_that_of_the_value(kernel: str) -> None:
    given = inputs(torch.float64, size=(8, 10))

    def loss(probabilities: Tensor) -> Tensor:
        return dense_energy_loss(
            **(given | {"probabilities": probabilities}),
            weight=1.0,
            kernel=kernel,  # type: ignore[arg-type]
            gradient="true",
        )

    probabilities = given["probabilities"].requires_grad_()
    assert torch.autograd.gradcheck(loss, (probabilities,), eps=1e-7, fast_mode=True)


def test_gradients_differ_but_values_do_not() -> None:
    released, true = (loss_and_gradient(inputs(), gradient=name, weight=1.0) for name in ("released", "true"))
    torch.testing.assert_close(released[0], true[0])
    assert (released[1] - true[1]).norm() > 0.1 * true[1].norm()


def test_scaled_exact_kernel_is_near_to_the_lattice() -> None:
    lattice, exact = (loss_and_gradient(inputs(), kernel=name) for name in ("lattice", "exact_scaled"))
    assert abs(exact[0] / lattice[0] - 1) < 0.25
    assert F.cosine_similarity(exact[1].flatten(), lattice[1].flatten(), dim=0) > 0.97


def test_padding_has_no_part_in_it() -> None:
    given = inputs()
    loss, gradient = loss_and_gradient(given)
    outside = given["roi"][:, None] == 0
    assert not gradient[outside.expand_as(gradient)].any()
    changed = torch.where(outside, torch.rand(2, 1, *SIZE), given["probabilities"])
    torch.testing.assert_close(loss_and_gradient(given | {"probabilities": changed})[0], loss)


def test_weight_zero_gives_zero_gradients_and_builds_no_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("harness.ops.dense_energy.build_lattice")
    loss, gradient = loss_and_gradient(inputs(), weight=0)
    assert loss == 0
    assert not gradient.any()


def test_an_image_does_not_depend_on_its_batch() -> None:
    given = inputs()
    alone = [loss_and_gradient({name: value[i : i + 1] for name, value in given.items()}) for i in range(2)]
    loss, gradient = loss_and_gradient(given)
    torch.testing.assert_close(loss, (alone[0][0] + alone[1][0]) / 2)
    torch.testing.assert_close(gradient, torch.cat([alone[0][1], alone[1][1]]) / 2, rtol=1e-4, atol=1e-12)


def test_odd_sizes_lose_their_last_row_and_column() -> None:
    given = inputs(size=(25, 33))
    even = {name: value[..., :24, :32] for name, value in given.items()}
    torch.testing.assert_close(loss_and_gradient(given)[0], loss_and_gradient(even)[0])
