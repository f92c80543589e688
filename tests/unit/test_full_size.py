"""No config rots: every model of every config builds at full size, and the papers' trainings take a step."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS
from mmseg.structures import SegDataSample

from harness import schedules as _schedules  # noqa: F401  registers them
from harness.config import METHODS, list_configs, list_methods, load_config
from harness.data import transforms as _transforms  # noqa: F401  registers them
from harness.registry import INFERENCES, REFINERS
from harness.schema import InferStage, RefineStage, TrainStage
from harness.stages.refine import require_inputs
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
            settings = dict(stage.optim_wrapper)
            if settings.get("type") == "AmpOptimWrapper" and not torch.cuda.is_available():
                settings = {
                    name: settings[name] for name in ("optimizer", "paramwise_cfg") if name in settings
                }
            wrapper = build_optim_wrapper(model, settings)
            assert len(wrapper.optimizer.param_groups) >= 1
            assert stage.param_scheduler["type"] in PARAM_SCHEDULERS
            assert callable(TRANSFORMS.build(stage.transform))
        elif isinstance(stage, InferStage):
            assert INFERENCES.build(stage.inference).kind in ("cam", "logits")
        elif isinstance(stage, RefineStage):
            require_inputs(REFINERS.build(stage.refiner), stage)


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_the_weights_of_the_config_are_registered_and_have_a_converter(path: Path) -> None:
    from harness.conversion import CONVERTERS

    importlib.import_module("methods.converters")
    registry = Weights.load(METHODS / "weights.yaml")
    for stage in load_config(path).stages.values():
        if isinstance(stage, TrainStage) and stage.weights is not None:
            assert registry.entry(stage.weights.name).layout in CONVERTERS


def one_step(method: str, name: str, image_labels: torch.Tensor | None) -> tuple[BaseModel, dict, float]:
    """One training step of a stage of `<method>/voc.py` on a random picture: model, values before, loss.

    Without `image_labels` the picture has a random mask.
    """
    config = load_config(METHODS / method / "voc.py")
    for module in config.custom_imports:
        importlib.import_module(module)
    stage = config.stages[name]
    assert isinstance(stage, TrainStage)
    torch.manual_seed(0)
    model = MODELS.build(stage.model)
    wrapper = build_optim_wrapper(model, stage.optim_wrapper)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
    mask = None if image_labels is not None else rng.integers(0, 21, (375, 500), dtype=np.uint8)
    inputs, mask = TRANSFORMS.build(stage.transform)(image, mask, rng)
    assert inputs.shape == (3, stage.transform["crop"], stage.transform["crop"])
    sample = SegDataSample()
    if mask is None:
        sample.set_data({"image_labels": image_labels})
    else:
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(mask.astype(np.int64))[None])
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    batch = {"inputs": torch.from_numpy(inputs)[None], "data_samples": [sample]}
    return model, before, float(model.train_step(batch, optim_wrapper=wrapper)["loss"].detach())


@pytest.mark.parametrize("method", ["cam", "vwe"])
def test_a_training_step_at_the_papers_crop_changes_the_trained_layers_only(method: str) -> None:
    model, before, loss = one_step(method, "cam", torch.eye(20)[7])
    assert np.isfinite(loss)
    changed = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    assert "classifier.weight" in changed
    assert any(name.startswith("backbone.layer4") for name in changed)
    frozen = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    assert not [name for name in changed if name.startswith(frozen)]


def test_a_training_step_of_deeplab_at_the_papers_crop() -> None:
    model, before, loss = one_step("vwe", "seg", None)
    assert np.isfinite(loss)
    assert not torch.equal(model.aspp[0].weight, before["aspp.0.weight"])
    assert all(not convolution.bias.any() for convolution in model.aspp)
