from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.ops.dense_energy import ExactKernel
from harness.ops.permutohedral import PermutohedralLattice, build_lattice
from harness.ops.sparse_rows import SparseRows


def random(*size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def spread(points: int = 300, d: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Points of which some are neighbours and others are alone."""
    return random(points, d, seed=d, dtype=dtype) * 4 - 1


def dense(matrix: SparseRows) -> Tensor:
    return matrix @ torch.eye(matrix.shape[1], dtype=matrix.values.dtype)


def test_weights_of_a_point_are_barycentric() -> None:
    lattice = build_lattice(spread())
    weights = dense(lattice.slice)
    assert weights.min() > -1e-5
    torch.testing.assert_close(weights.sum(1), torch.ones(300), rtol=0, atol=1e-5)
    torch.testing.assert_close(dense(lattice.splat), weights.t())


def test_a_point_on_a_vertex_has_one_weight() -> None:
    weights = dense(build_lattice(torch.zeros(1, 3)).slice)
    assert weights.max() == 1
    assert weights.sum() == 1


def test_blurs_are_symmetric_and_reach_one_vertex_to_each_side() -> None:
    for blur in build_lattice(spread(d=2)).blurs:
        matrix = dense(blur)
        torch.testing.assert_close(matrix, matrix.t(), rtol=0, atol=0)
        assert set(matrix.unique().tolist()) == {0.0, 0.5, 1.0}
        assert (matrix == 0.5).sum(1).max() == 2


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_filter_is_near_to_the_gaussian(d: int) -> None:
    """After the best scalar, as the spec states the distance, where points are dense."""
    features = spread(2000, d) * (0.3 if d == 5 else 1)
    values = random(2000, 3, seed=9)
    ours = build_lattice(features).filter(values)
    exact = ExactKernel(features[None]).apply(values)
    scale = (ours * exact).sum() / exact.square().sum()
    assert 0.3 < scale < 1.1
    assert (ours - scale * exact).norm() < 0.12 * (scale * exact).norm()


@pytest.mark.parametrize("d", [2, 5])
def test_transpose_is_the_adjoint_and_goes_through_the_axes_backwards(d: int) -> None:
    lattice = build_lattice(spread(d=d, dtype=torch.float64))
    x, y = random(300, 4, dtype=torch.float64), random(300, 4, seed=1, dtype=torch.float64)
    torch.testing.assert_close(
        (lattice.apply(x) * y).sum(), (x * lattice.apply(y, transpose=True)).sum(), rtol=1e-12, atol=0
    )
    # Where vertices are missing the order of the axes matters: the filter is not its own transpose.
    assert (lattice.apply(x) - lattice.apply(x, transpose=True)).abs().max() > 1e-6


def test_gradients_of_first_and_second_order() -> None:
    lattice = build_lattice(spread(30, dtype=torch.float64))
    values = random(30, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lattice.filter, (values,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda v: lattice.filter(v).square(), (values,), fast_mode=True)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    parts = [spread(200), spread(100) * 0.5]
    values = [random(200, 3), random(100, 3, seed=1)]
    image = torch.tensor([0] * 200 + [1] * 100)
    joint = build_lattice(torch.cat(parts), image).filter(torch.cat(values))
    apart = [build_lattice(part).filter(value) for part, value in zip(parts, values, strict=True)]
    torch.testing.assert_close(joint, torch.cat(apart), rtol=1e-5, atol=1e-5)


def test_scaled_lattice_weighs_before_and_after() -> None:
    lattice, weights, values = build_lattice(spread()), random(300, seed=3), random(300, 2)
    expected = weights[:, None] * lattice.filter(weights[:, None] * values)
    torch.testing.assert_close(lattice.scaled(weights).filter(values), expected)


def test_many_columns_go_through_in_parts() -> None:
    lattice, values = build_lattice(spread()), random(300, 70)
    whole = lattice.filter(values)
    for start in (0, 31, 69):
        torch.testing.assert_close(lattice.filter(values[:, start : start + 1]), whole[:, start : start + 1])


def test_equal_bits_at_every_call() -> None:
    def filtered() -> Tensor:
        return build_lattice(spread()).filter(random(300, 5))

    assert torch.equal(filtered(), filtered())


def count(lattice: PermutohedralLattice) -> tuple[int, int]:
    return lattice.points, lattice.vertices


def test_equal_points_share_their_vertices() -> None:
    assert count(build_lattice(torch.tensor([[0.3, 0.9]]).repeat(50, 1))) == (50, 3)


@pytest.mark.parametrize(
    ("features", "message"),
    [(torch.tensor([[0.0, torch.nan]]), "finite"), (torch.tensor([[0.0] * 5, [1e7] * 5]), "too far apart")],
)
def test_features_without_a_lattice_are_refused(features: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_lattice(features)
