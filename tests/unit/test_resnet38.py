"""The wide ResNet-38: widths, freezing, and the ImageNet file that its networks start from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.mxnet_params import read_params
from methods.modules.resnet import FrozenBatchNorm2d
from methods.modules.resnet38 import ResNet38, convert_mxnet
from tests.unit.mxnet_file import params_bytes

LEAVES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}


def mxnet_name(name: str) -> str | None:
    """Name in the ImageNet file of a tensor of ours, by the spec's table; None where it has none."""
    module, _, leaf = name.rpartition(".")
    if leaf == "num_batches_tracked":
        return None
    kind = "aux" if leaf.startswith("running") else "arg"
    if module in ("conv1a", "bn7"):
        return f"{kind}:{module}_{'weight' if module == 'conv1a' else LEAVES[leaf]}"
    match = re.fullmatch(r"b(\d)(?:_(\d))?\.(conv|bn)_(\w+)", module)
    assert match is not None
    stage, index, layer, branch = match.groups()
    unit = f"{stage}b{index}" if index else f"{stage}a"
    if layer == "conv":
        return f"arg:res{unit}_{branch}_weight"
    return f"{kind}:bn{unit}_{branch}_{LEAVES[leaf]}"


@pytest.fixture(scope="module")
def names() -> dict[str, torch.Size]:
    """Our tensors that the file holds, with their shapes."""
    with torch.device("meta"):
        state = ResNet38().state_dict()
    return {name: tensor.shape for name, tensor in state.items() if mxnet_name(name)}


def test_a_file_of_the_full_network_fills_it(names: dict[str, torch.Size]) -> None:
    """Every tensor holds one number, its own, so that 440 MB take no memory."""
    state = {
        mxnet_name(name): torch.full((1,), float(i)).expand(shape)
        for i, (name, shape) in enumerate(names.items())
    }
    state["arg:linear1000_weight"] = torch.zeros(1).expand(1000, 4096)
    state["arg:linear1000_bias"] = torch.zeros(1).expand(1000)
    conversion = convert_mxnet(state)
    assert conversion.complete
    assert sorted(conversion.dropped) == ["arg:linear1000_bias", "arg:linear1000_weight"]
    with torch.device("meta"):
        network = ResNet38()
    network.load_state_dict(conversion.state, assign=True)
    found = network.state_dict()
    assert [float(found[name].flatten()[0]) for name in names] == [float(i) for i in range(len(names))]


def test_the_file_on_the_disk_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "part.params"
    path.write_bytes(params_bytes({"arg:conv1a_weight": np.ones((64, 3, 3, 3), np.float32)}))
    conversion = convert_mxnet(read_params(path))
    assert torch.equal(conversion.state["conv1a.weight"], torch.ones(64, 3, 3, 3))
    assert "b7.conv_branch2b2.weight" in conversion.missing


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("arg:conv1a_weight", (64, 3, 5, 5)),
        ("arg:res9a_branch1_weight", (3, 3)),
        ("arg:res2a_branch2a_gamma", (64,)),
        ("conv1a_weight", (64, 3, 3, 3)),
    ],
)
def test_a_tensor_that_fits_nowhere_is_reported(name: str, shape: tuple[int, ...]) -> None:
    conversion = convert_mxnet({name: torch.zeros(shape)})
    assert conversion.unmapped == [name]
    assert not conversion.complete


@pytest.mark.parametrize("width", [2, 3, 8])
@pytest.mark.parametrize("size", [(33, 40), (17, 16)])
def test_widths_follow_the_first_and_sizes_are_rounded_up(width: int, size: tuple[int, int]) -> None:
    network = ResNet38(base_channels=width).eval()
    with torch.no_grad():
        stages = network(torch.zeros(1, 3, *size))
    strides = (4, 8, 8, 8)
    expected = [
        (1, channels * width, -(-size[0] // s), -(-size[1] // s))
        for channels, s in zip((4, 8, 16, 64), strides, strict=True)
    ]
    assert [tuple(maps.shape) for maps in stages] == expected
    assert network.out_channels == stages.conv6.shape[1]


@pytest.mark.parametrize(
    ("stages", "frozen"), [(0, set()), (1, {"conv1a"}), (2, {"conv1a", "b2", "b2_1", "b2_2"})]
)
def test_the_first_convolutions_can_keep_their_values(stages: int, frozen: set[str]) -> None:
    with torch.device("meta"):
        network = ResNet38(base_channels=2, norm="batch", frozen_stages=stages)
    kept = {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad}
    assert kept == frozen


def test_frozen_norms_neither_learn_nor_follow_the_batch() -> None:
    network = ResNet38(base_channels=2).train()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(isinstance(norm, FrozenBatchNorm2d) for norm in norms)
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_batch_norms_learn_and_follow_the_batch_by_their_momentum() -> None:
    network = ResNet38(base_channels=2, norm="batch", bn_momentum=0.25, frozen_stages=0).train()
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    entering = network.conv1a(x)
    network(x)
    norm = network.b2.bn_branch2a
    assert norm.weight.requires_grad
    torch.testing.assert_close(norm.running_mean, 0.25 * entering.mean((0, 2, 3)))


def test_channel_dropout_of_the_last_units_can_be_set() -> None:
    def rates(**settings: tuple[float, float]) -> list[float]:
        network = ResNet38(base_channels=2, **settings)
        return [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout2d)]

    assert rates() == [0.3, 0.3, 0.5, 0.5]
    assert rates(dropout=(0.0, 0.1)) == [0.0, 0.0, 0.1, 0.1]
