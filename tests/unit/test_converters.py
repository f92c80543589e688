"""Converters account for every name of a foreign checkpoint."""

from __future__ import annotations

import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor
from torchvision.models import resnet50

import methods.converters  # noqa: F401  fills CONVERTERS
from harness.conversion import CONVERTERS
from harness.errors import InputError
from methods.cam.model import CAMNet
from methods.modules.deeplabv2 import CAFFE_R101
from methods.modules.resnet import StageResNet
from methods.vwe.model import VWE

R50 = {"type": "StageResNet", "depth": 50}


@pytest.fixture(scope="module")
def backbone() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return StageResNet(50).state_dict()


def vwe_checkpoint(backbone: dict[str, Tensor], learned: bool = True) -> dict[str, Tensor]:
    """The authors' layout: DataParallel's prefix, every tensor under two or three names."""
    heads = {
        "classifier.weight": torch.randn(20, 2048, 1, 1),
        **({"VWE.centroid": torch.randn(256, 2048, 1, 1)} if learned else {}),
        "fc_a.weight": torch.randn(20, 256, 1, 1),
        "fc_b.weight": torch.randn(256, 2048, 1, 1),
    }
    state = {f"resnet.{name}": tensor for name, tensor in backbone.items()}
    for name, tensor in backbone.items():
        first, rest = name.split(".", 1)
        stage, place = (
            (1, {"conv1": "0", "bn1": "1", "layer1": "4"}.get(first))
            if first in ("conv1", "bn1", "layer1")
            else (int(first[-1]), "0")
        )
        state[f"stage{stage}.{place}.{rest}"] = tensor.clone()
        state[f"backbone.{stage - 1}.{place}.{rest}"] = tensor.clone()
    for index, (name, tensor) in enumerate(heads.items()):
        state[name] = tensor
        state[f"newly_added.{index}.{name.split('.', 1)[1]}"] = tensor.clone()
    return {f"module.{name}": tensor for name, tensor in state.items()}


def test_vwe_checkpoint_fills_the_model(backbone):
    state = vwe_checkpoint(backbone)
    assert len(state) == 962
    conversion = CONVERTERS["vwe"](state)
    assert conversion.complete
    assert len(conversion.dropped) == 962 - 322
    model = VWE(20, R50)
    model.load_state_dict(conversion.state)
    assert torch.equal(model.codebook, state["module.VWE.centroid"].flatten(1))
    assert torch.equal(model.backbone.layer4[2].conv3.weight, backbone["layer4.2.conv3.weight"])


def test_memory_variant_starts_with_a_codebook_that_is_not_sampled(backbone):
    conversion = CONVERTERS["vwe"](vwe_checkpoint(backbone, learned=False))
    assert conversion.complete
    model = VWE(20, R50, variant="vwl_memory")
    model.load_state_dict(conversion.state)
    assert not model.codebook_sampled


def test_copy_that_differs_is_refused(backbone):
    state = vwe_checkpoint(backbone)
    state["module.stage3.0.0.conv1.weight"] = state["module.stage3.0.0.conv1.weight"] + 1
    with pytest.raises(InputError, match=r"stage3\.0\.0\.conv1\.weight"):
        CONVERTERS["vwe"](state)


def test_unknown_and_missing_names_are_reported(backbone):
    state = vwe_checkpoint(backbone)
    state["module.extra.weight"] = torch.zeros(1)
    for alias in ("resnet.bn1.bias", "stage1.1.bias", "backbone.0.1.bias"):
        del state[f"module.{alias}"]
    conversion = CONVERTERS["vwe"](state)
    assert conversion.unmapped == ["extra.weight"]
    assert conversion.missing == ["backbone.bn1.bias"]
    assert not conversion.complete


def test_wrong_shape_is_named(backbone):
    state = {f"resnet50.{name}": tensor for name, tensor in backbone.items()}
    state["classifier.weight"] = torch.zeros(20, 512, 1, 1)
    with pytest.raises(
        InputError, match=r"'classifier.weight' of the checkpoint has shape \(20, 512, 1, 1\)"
    ):
        CONVERTERS["cam"](state)


def test_cam_checkpoint_fills_the_model_whatever_its_number_of_classes(backbone):
    state = {f"resnet50.{name}": tensor for name, tensor in backbone.items()}
    state["classifier.weight"] = torch.randn(80, 2048, 1, 1)
    conversion = CONVERTERS["cam"](state)
    assert conversion.complete
    CAMNet(80, R50).load_state_dict(conversion.state)


def test_another_network_is_refused():
    with pytest.raises(InputError, match="no ResNet of depth"):
        CONVERTERS["cam"](
            {"features.0.weight": torch.zeros(1), "classifier.weight": torch.zeros(20, 8, 1, 1)}
        )


def test_torchvision_weights_fill_the_backbone():
    with torch.device("meta"):
        state = resnet50().state_dict()
        expected = StageResNet(50).state_dict()
    # The published file predates the batch counters.
    state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    conversion = CONVERTERS["torchvision_resnet"](state)
    assert conversion.complete
    assert conversion.state.keys() == expected.keys()
    assert set(conversion.dropped) == {"fc.weight", "fc.bias"}


def caffe_layout(head: bool) -> dict[str, Tensor]:
    """DeepLab v2's names and shapes as the authors have them, on the meta device."""
    with torch.device("meta"):
        ours = MODELS.build(CAFFE_R101).state_dict()
        state = {}
        for name, tensor in ours.items():
            parts = name.split(".")
            kind = "conv" if parts[-2].startswith("conv") or parts[-2] == "0" else "batch_norm"
            if len(parts) == 2:
                theirs = f"layer1.conv7x7.{kind}.{parts[-1]}"
            else:
                unit = "shortcut" if "downsample" in parts else f"conv{parts[-2][-1]}"
                theirs = f"layer{int(parts[0][-1]) + 1}.block{int(parts[1]) + 1}.{unit}.{kind}.{parts[-1]}"
            state[theirs] = tensor
        for branch in range(4 if head else 0):
            state[f"aspp.c{branch}.weight"] = torch.empty(21, 2048, 3, 3)
            state[f"aspp.c{branch}.bias"] = torch.empty(21)
    return state


def test_deeplab_checkpoint_maps_in_full():
    conversion = CONVERTERS["deeplabv2"]({f"base.{name}": t for name, t in caffe_layout(head=True).items()})
    assert conversion.complete
    assert len(conversion.state) == 632
    without_head = CONVERTERS["deeplabv2"](caffe_layout(head=False))
    assert len(without_head.missing) == 8


def test_deeplab_init_fills_the_backbone():
    conversion = CONVERTERS["deeplabv1"](caffe_layout(head=False))
    assert conversion.complete
    assert len(conversion.state) == 624
    assert len(CONVERTERS["deeplabv1"](caffe_layout(head=True)).unmapped) == 8
