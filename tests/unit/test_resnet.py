"""StageResNet: strides, dilation, frozen parts, and what learns."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from harness.errors import InputError
from methods.modules.resnet import StageResNet, convert_torchvision


def trained(network: StageResNet, image: torch.Tensor) -> set[str]:
    """First name components of the parameters that receive a gradient."""
    network(image)[-1].sum().backward()
    return {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 65, 97, generator=torch.Generator().manual_seed(0))


def test_equals_torchvision_with_its_strides_and_weights(image):
    torch.manual_seed(0)
    reference = resnet18().eval()
    ours = StageResNet(18, strides=(2, 2, 2, 2)).eval()
    ours.load_state_dict(convert_torchvision(reference.state_dict()).state)
    with torch.no_grad():
        pooled = ours(image)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(reference.fc(pooled), reference(image))


def test_stages_have_the_papers_sizes():
    with torch.device("meta"):
        outputs = StageResNet(50)(torch.empty(1, 3, 512, 512))
    assert [tuple(x.shape[1:]) for x in outputs] == [
        (64, 128, 128),
        (256, 128, 128),
        (512, 64, 64),
        (1024, 32, 32),
        (2048, 32, 32),
    ]


def test_caffe_style_strides_early_and_pools_up():
    with torch.device("meta"):
        network = StageResNet(50, style="caffe", strides=(2, 2, 1, 1), dilations=(1, 1, 2, 4))
        outputs = network(torch.empty(1, 3, 321, 321))
    assert network.layer2[0].conv1.stride == (2, 2)
    assert network.layer2[0].conv2.stride == (1, 1)
    assert all(block.conv2.dilation == (4, 4) for block in network.layer4)
    assert outputs[-1].shape == (1, 2048, 41, 41)


def test_narrow_basic_blocks_keep_their_size_when_dilated(image):
    network = StageResNet(18, base_channels=8, strides=(2, 2, 1, 1), dilations=(1, 1, 2, 4), norm="batch")
    assert network(image)[-1].shape == (2, 64, 9, 13)
    assert network.out_channels == 64


def test_frozen_norm_ignores_the_batch_and_keeps_its_statistics(image):
    torch.manual_seed(0)
    network = StageResNet(18, base_channels=8).train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    together = network(image)[-1]
    alone = network(image[:1])[-1]
    torch.testing.assert_close(together[:1], alone)
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


def test_batch_norm_learns_its_statistics(image):
    network = StageResNet(18, base_channels=8, norm="batch").train()
    network(image)
    assert network.bn1.running_mean.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"layer1", "layer2", "layer3", "layer4"}),
        ({"freeze_stem": False}, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        ({"detach_after": 2}, {"layer3", "layer4"}),
    ],
)
def test_what_learns(options, expected, image):
    assert trained(StageResNet(18, base_channels=8, **options), image) == expected


def test_affine_of_frozen_norms_learns_unless_frozen_too(image):
    def norms(**options: bool) -> int:
        network = StageResNet(18, base_channels=8, **options)
        network(image)[-1].sum().backward()
        return sum(p.grad is not None for name, p in network.named_parameters() if ".bn" in name)

    assert norms() == 32
    assert norms(freeze_affine=True) == 0


def test_detached_layers_keep_no_graph(image):
    outputs = StageResNet(18, base_channels=8, freeze_stem=False, detach_after=2)(image)
    assert [x.requires_grad for x in outputs] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("options", "word"),
    [({"depth": 34}, "depth 34"), ({"norm": "group"}, "norm 'group'"), ({"style": "tf"}, "style 'tf'")],
)
def test_unknown_choices_are_named(options, word):
    with pytest.raises(InputError, match=word):
        StageResNet(**options)


def test_random_weights_keep_activations_in_range_without_normalisation():
    # Runs without pretrained weights are allowed; a frozen norm must not let them grow with depth.
    torch.manual_seed(0)
    network = StageResNet(101, base_channels=8)
    with torch.no_grad():
        outputs = network(torch.randn(1, 3, 64, 64))
    assert all(0.01 < x.square().mean().sqrt() < 10 for x in outputs)
