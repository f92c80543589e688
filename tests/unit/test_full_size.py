"""No config rots: every model of every config builds at full size, and the papers' trainings take a step."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample

from harness.config import METHODS, list_configs, list_methods, load_config
from harness.data import transforms as _transforms  # noqa: F401  registers them
from harness.registry import INFERENCES, REFINERS
from harness.schema import InferStage, RefineStage, TrainStage
from harness.weights import Weights

CONFIGS = [METHODS / method / f"{name}.py" for method in list_methods() for name in list_configs(method)]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_every_component_of_the_config_builds_at_full_size(path: Path) -> None:
    config = load_config(path)
    for module in config.custom_imports:
        importlib.import_module(module)
    for stage in config.stages.values():
        if isinstance(stage, TrainStage):
            with torch.device("meta"):
                model = MODELS.build(stage.model)
            trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
            assert trainable
            wrapper = build_optim_wrapper(model, stage.optim_wrapper)
            assert len(wrapper.optimizer.param_groups) >= 1
            assert callable(TRANSFORMS.build(stage.transform))
        elif isinstance(stage, InferStage):
            assert INFERENCES.build(stage.inference).kind in ("cam", "logits")
        elif isinstance(stage, RefineStage):
            assert REFINERS.build(stage.refiner).kind == ("model" if stage.checkpoint else "cpu")


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_the_weights_of_the_config_are_registered_and_have_a_converter(path: Path) -> None:
    from harness.conversion import CONVERTERS

    importlib.import_module("methods.converters")
    registry = Weights.load(METHODS / "weights.yaml")
    for stage in load_config(path).stages.values():
        if isinstance(stage, TrainStage) and stage.weights is not None:
            assert registry.entry(stage.weights.name).layout in CONVERTERS


@pytest.mark.parametrize("method", ["cam", "vwe"])
def test_a_training_step_at_the_papers_crop_changes_the_trained_layers_only(method: str) -> None:
    config = load_config(METHODS / method / "voc.py")
    for module in config.custom_imports:
        importlib.import_module(module)
    stage = config.stages["cam"]
    assert isinstance(stage, TrainStage)
    torch.manual_seed(0)
    model = MODELS.build(stage.model)
    wrapper = build_optim_wrapper(model, stage.optim_wrapper)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
    inputs, _ = TRANSFORMS.build(stage.transform)(image, None, rng)
    assert inputs.shape == (3, 512, 512)
    sample = SegDataSample()
    sample.set_data({"image_labels": torch.eye(20)[7]})
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    losses = model.train_step(
        {"inputs": torch.from_numpy(inputs)[None], "data_samples": [sample]}, optim_wrapper=wrapper
    )
    assert np.isfinite(float(losses["loss"].detach()))
    changed = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    assert "classifier.weight" in changed
    assert any(name.startswith("backbone.layer4") for name in changed)
    frozen = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    assert not [name for name in changed if name.startswith(frozen)]


def test_a_training_step_of_deeplab_at_the_papers_crop() -> None:
    config = load_config(METHODS / "vwe" / "voc.py")
    for module in config.custom_imports:
        importlib.import_module(module)
    stage = config.stages["seg"]
    assert isinstance(stage, TrainStage)
    torch.manual_seed(0)
    model = MODELS.build(stage.model)
    wrapper = build_optim_wrapper(model, stage.optim_wrapper)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
    label = rng.integers(0, 21, (375, 500), dtype=np.uint8)
    inputs, label = TRANSFORMS.build(stage.transform)(image, label, rng)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(label.astype(np.int64))[None]))
    before = model.aspp[0].weight.detach().clone()
    losses = model.train_step(
        {"inputs": torch.from_numpy(inputs)[None], "data_samples": [sample]}, optim_wrapper=wrapper
    )
    assert np.isfinite(float(losses["loss"].detach()))
    assert not torch.equal(model.aspp[0].weight, before)
    assert all(not convolution.bias.any() for convolution in model.aspp)
