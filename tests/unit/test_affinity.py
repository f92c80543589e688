from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.ops.affinity import (
    displacement_target,
    edge_to_affinity,
    pair_displacement,
    pair_labels,
    search_geometry,
)


def gathered_affinity(edge: Tensor, radius: int) -> Tensor:
    """The paper's form: gather every path point of every source, then reduce."""
    geometry, (height, width) = search_geometry(radius), edge.shape[-2:]
    positions = torch.arange(height * width).view(height, width)
    flat = edge.flatten(1)
    pairs = []
    for path in geometry.paths:
        index = torch.stack([geometry.window(positions, point).flatten() for point in path])
        pairs.append(1 - flat[:, index].amax(dim=1))
    return torch.stack(pairs, dim=1).unflatten(2, geometry.grid(height, width))


@pytest.mark.parametrize(("radius", "pairs", "points"), [(2, 4, 12), (5, 34, 242), (10, 152, 2134)])
def test_number_of_pairs_and_path_points(radius: int, pairs: int, points: int) -> None:
    paths = search_geometry(radius).paths
    assert (len(paths), sum(map(len, paths))) == (pairs, points)


def test_paths_run_from_destination_to_source_without_gaps() -> None:
    for path in search_geometry(10).paths:
        assert path[-1] == (0, 0)
        assert len(set(path)) == len(path)
        for y, x in path[:-1]:
            assert any(max(abs(y - v), abs(x - u)) == 1 for v, u in path)


@pytest.mark.parametrize("grad", [True, False])
def test_affinity_equals_gathered_maximum(grad: bool) -> None:
    edge = torch.rand(2, 14, 17, generator=torch.Generator().manual_seed(1)).requires_grad_(grad)
    assert torch.equal(edge_to_affinity(edge, 5), gathered_affinity(edge, 5))


def test_affinity_gradient_equals_gathered_gradient() -> None:
    generator = torch.Generator().manual_seed(2)
    edge = torch.rand(2, 14, 17, generator=generator, dtype=torch.float64)
    weight = torch.rand(gathered_affinity(edge, 5).shape, generator=generator, dtype=torch.float64)
    gradients = []
    for function in (edge_to_affinity, gathered_affinity):
        leaf = edge.clone().requires_grad_()
        (function(leaf, 5) * weight).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_one_winner_takes_the_gradient_of_a_tie() -> None:
    edge = torch.full((1, 8, 12), 0.5, requires_grad=True)
    edge_to_affinity(edge, 3).sum().backward()
    assert edge.grad is not None
    assert edge.grad.sum() == -edge_to_affinity(edge, 3).numel()


def test_pair_labels_drop_pairs_that_touch_ignored_pixels() -> None:
    label = torch.tensor([[[0, 0, 3, 255], [0, 3, 3, 21]]])
    background, foreground, negative = pair_labels(label, 2, num_classes=21)
    assert search_geometry(2).destinations == ((0, 1), (1, 0), (1, -1), (1, 1))
    no, yes = False, True  # per pair, the sources 0 and 3 of the first row
    assert background[0].flatten(1).tolist() == [[no, no], [no, no], [yes, no], [no, no]]
    assert foreground[0].flatten(1).tolist() == [[no, no], [no, yes], [no, yes], [no, no]]
    assert negative[0].flatten(1).tolist() == [[yes, no], [yes, no], [no, no], [yes, no]]


def test_pair_labels_of_the_smallest_label_type() -> None:
    label = torch.randint(0, 6, (2, 12, 13), generator=torch.Generator().manual_seed(3))
    label[label == 5] = 255
    for wide, narrow in zip(pair_labels(label, 4, 5), pair_labels(label.to(torch.uint8), 4, 5)):
        assert torch.equal(wide, narrow)


def test_displacement_of_a_field_that_points_to_one_centre() -> None:
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(15.0), indexing="ij")
    to_centre = torch.stack([5 - rows, 7 - columns])[None]
    difference = pair_displacement(to_centre, 4)
    assert torch.equal(difference, displacement_target(4)[None, :, :, None, None].expand_as(difference))


def test_displacement_gradient() -> None:
    field = torch.rand(1, 2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.autograd.gradcheck(lambda x: pair_displacement(x, 3), field.requires_grad_())


def test_too_small_map_is_refused() -> None:
    with pytest.raises(ValueError, match="fit into a map of 20 x 18"):
        edge_to_affinity(torch.zeros(1, 20, 18), 10)
