"""The transformer: hidden keys, position table, ImageNet checkpoints."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.modules.vit import IMAGENET_HEAD, ViT, convert_imagenet

SMALL = {"embed_dim": 64, "depth": 3, "num_heads": 2, "patch_size": 8, "image_size": 32}


def network() -> ViT:
    torch.manual_seed(0)
    model = ViT(**SMALL, auxiliary_block=-2)
    torch.nn.init.normal_(model.pos_embed, std=0.5)
    return model


def images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def masks(views: int, rate: float) -> Tensor:
    """Views (V, 2, 6, 4) of different lengths, one of which hides everything."""
    hidden = torch.rand(views, 2, 6, 4, generator=torch.Generator().manual_seed(2)) < rate
    hidden[1, 0] = True
    return hidden


def masked_passes(model: ViT, image: Tensor, hidden: Tensor) -> Tensor:
    return torch.stack([model(image, F.pad(view.flatten(1), (1, 0))).class_token for view in hidden])


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.95])
def test_visible_tokens_alone_give_the_class_tokens_of_masked_passes(rate: float) -> None:
    model, image, hidden = network().double(), images(48, 32).double(), masks(4, rate)
    alone = model.class_tokens_of_visible(image, hidden)
    masked = masked_passes(model, image, hidden)
    torch.testing.assert_close(alone, masked)
    weight = torch.randn_like(masked)
    ours, theirs = (
        torch.autograd.grad((found * weight).sum(), [model.patch_embed.proj.weight, model.cls_token])
        for found in (alone, masked)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_view_without_visible_tokens_does_not_depend_on_the_image() -> None:
    model, hidden = network(), torch.ones(1, 2, 6, 4, dtype=torch.bool)
    first, second = model.class_tokens_of_visible(images(48, 32), hidden)[0]
    assert torch.equal(first, second)


def test_the_position_table_is_as_it_is_for_its_own_size_and_resampled_for_others() -> None:
    model = network()
    assert torch.equal(model.positions((4, 4)), model.pos_embed)
    larger = model.positions((8, 6))
    assert larger.shape == (1, 1 + 48, 64)
    assert torch.equal(larger[:, 0], model.pos_embed[:, 0])
    assert not model.pos_embed.requires_grad
    assert ViT(**SMALL, learn_positions=True).pos_embed.requires_grad


def test_what_does_not_fill_a_patch_is_not_seen() -> None:
    model, image = network(), images(37, 46)
    tokens = model(image)
    assert tokens.patches.shape == tokens.auxiliary.shape == (2, 64, 4, 5)
    torch.testing.assert_close(tokens.patches, model(image[..., :32, :40]).patches)


def test_the_auxiliary_map_is_an_inner_blocks_output_without_norm() -> None:
    model = network()
    seen = []
    model.blocks[1].register_forward_hook(lambda module, given, output: seen.append(output))
    tokens = model(images(32, 32))
    torch.testing.assert_close(tokens.auxiliary.flatten(2).transpose(1, 2), seen[0][:, 1:])


def imagenet_state() -> dict[str, Tensor]:
    """A checkpoint in DeiT's names: a transformer of width 128, two blocks, with its classifier."""
    with torch.device("meta"):
        trunk = ViT(embed_dim=128, depth=2, num_heads=2, image_size=64, auxiliary_block=0)
        head = {"head.weight": torch.empty(1000, 128), "head.bias": torch.empty(1000)}
    return {**trunk.state_dict(), **head}


def test_an_imagenet_checkpoint_of_any_width_and_depth_is_accounted_for() -> None:
    state = imagenet_state()
    conversion = convert_imagenet(state)
    assert conversion.complete
    assert set(conversion.state) == set(state) - {"head.weight", "head.bias"}
    assert set(conversion.dropped.values()) == {IMAGENET_HEAD}


def test_a_tensor_that_is_missing_or_unknown_is_named() -> None:
    state = imagenet_state()
    del state["norm.bias"]
    state["dist_token"] = torch.empty(1, 1, 128, device="meta")
    conversion = convert_imagenet(state)
    assert not conversion.complete
    assert conversion.unmapped == ["dist_token"]
    assert conversion.missing == ["norm.bias"]
