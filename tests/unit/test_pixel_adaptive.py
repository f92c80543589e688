from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.ops.pixel_adaptive import (
    DILATIONS,
    RING,
    Kind,
    PixelAdaptive,
    neighbours,
    par_weights,
    propagate,
    varm_weights,
)

KINDS: tuple[Kind, ...] = ("par", "pamr", "varm")
TOTAL = {"par": 1.01, "pamr": 1.0, "varm": 0.99}


def stacked(maps: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """Neighbours (N, C, P, H, W) by convolution with one-hot kernels, as the released codes extract them."""
    kernels = torch.zeros(8, 1, 3, 3)
    for index, (row, column) in enumerate(RING):
        kernels[index, 0, 1 + row, 1 + column] = 1
    n, channels, height, width = maps.shape
    parts = []
    for step in dilations:
        padded = F.pad(maps, [step] * 4, mode="replicate")
        planes = padded.reshape(n * channels, 1, height + 2 * step, width + 2 * step)
        parts.append(F.conv2d(planes, kernels, dilation=step).reshape(n, channels, 8, height, width))
    return torch.cat(parts, dim=2)


def images(n: int = 2, height: int = 17, width: int = 23) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))


def masks(channels: int, n: int = 2, height: int = 17, width: int = 23) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4), DILATIONS], ids=str)
def test_slices_are_what_one_hot_kernels_extract(dilations: tuple[int, ...]) -> None:
    torch.testing.assert_close(
        torch.stack(list(neighbours(images(), dilations)), dim=2),
        stacked(images(), dilations),
        rtol=0,
        atol=0,
    )


def test_par_is_its_formula_on_stacked_neighbours() -> None:
    near, seen = stacked(images(), DILATIONS), images()[:, :, None]
    deviation = near.std(dim=2, keepdim=True)
    colour = -(((near - seen).abs() / (deviation + 1e-8) / 0.3) ** 2).mean(1)
    distance = torch.tensor([step * (2**0.5 if r and c else 1.0) for step in DILATIONS for r, c in RING])
    position = (-((distance / (distance.std() + 1e-8) / 0.3) ** 2)).softmax(0)
    weights = colour.softmax(1) + 0.01 * position.reshape(1, -1, 1, 1)
    torch.testing.assert_close(par_weights(images()), weights, rtol=1e-4, atol=1e-7)
    refined = masks(3)
    for _ in range(4):
        refined = (stacked(refined, DILATIONS) * weights[:, None]).sum(2)
    torch.testing.assert_close(
        PixelAdaptive("par", iterations=4)(images(), masks(3)), refined, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_what_the_spec_says(kind: Kind) -> None:
    total = PixelAdaptive(kind).weights(images()).sum(1)
    torch.testing.assert_close(total, torch.full_like(total, TOTAL[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind: Kind) -> None:
    refine = PixelAdaptive(kind)
    alone = torch.cat([refine(images()[i : i + 1], masks(3)[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(refine(images(), masks(3)), alone, rtol=0, atol=0)


def test_stacks_side_by_side_equal_two_refinements() -> None:
    refine = PixelAdaptive("varm")
    weights, stacks = refine.weights(images()), masks(6)
    apart = torch.cat([refine(images(), stacks[:, :3]), refine(images(), stacks[:, 3:])], dim=1)
    torch.testing.assert_close(refine.refine(stacks, weights), apart, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_image_averages_and_makes_no_nan(kind: Kind) -> None:
    flat = torch.full((1, 3, 9, 9), 0.5)
    refined = PixelAdaptive(kind, iterations=1)(flat, torch.ones(1, 1, 9, 9))
    torch.testing.assert_close(refined, torch.full_like(refined, TOTAL[kind]))


def test_masks_do_not_cross_an_edge() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 1
    left = torch.zeros(1, 1, 16, 16)
    left[..., 2:6] = 1
    refined = PixelAdaptive("pamr")(image, left)
    assert refined[..., 8:].abs().max() < 0.02 < 0.2 < refined[..., :8].min()


def test_varm_weighs_down_neighbours_on_an_edge() -> None:
    """Right of an edge by two columns: the neighbour whose right-hand neighbour differs has a larger step."""
    image = torch.zeros(1, 3, 9, 9)
    image[..., 5:] = 1
    ring = varm_weights(image, dilations=(1,))[0, :, 4, 3]
    left, right = RING.index((0, -1)), RING.index((0, 1))
    assert ring[right] < ring[left]


def test_masks_are_resized_to_the_image_with_aligned_corners() -> None:
    refine = PixelAdaptive("par", iterations=0)
    small = masks(2, height=5, width=6)
    expected = F.interpolate(small, size=(17, 23), mode="bilinear", align_corners=True)
    torch.testing.assert_close(refine(images(), small), expected)


def test_weights_of_other_dilations_are_refused() -> None:
    with pytest.raises(ValueError, match="8 weights per pixel given for 48 neighbours"):
        propagate(masks(1), par_weights(images(), (1,)), iterations=1)


def test_no_gradient_is_recorded() -> None:
    needing = masks(1).requires_grad_()
    assert not PixelAdaptive("par", iterations=2)(images().requires_grad_(), needing).requires_grad
