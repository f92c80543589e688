"""Method configs and `--set`: every config loads, and every mistake is one sentence with a way out."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from harness.config import (
    METHODS,
    find_config,
    is_config,
    list_configs,
    list_methods,
    load_config,
    parse_override,
)
from harness.errors import InputError
from harness.plan import Ingredients, make_plan
from harness.schema import MethodConfig, TrainStage

CONFIGS = [METHODS / method / f"{name}.py" for method in list_methods() for name in list_configs(method)]
VWE = METHODS / "vwe" / "shapes.py"


def loaded(*overrides: str, path: Path = VWE) -> MethodConfig:
    return load_config(path, [parse_override(text) for text in overrides])


def training(config: MethodConfig, name: str = "cam") -> TrainStage:
    stage = config.stages[name]
    assert isinstance(stage, TrainStage)
    return stage


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_loads_and_plans(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert config.dataset.name == path.stem.split("_")[0]
    assert config.title
    plan = make_plan(config, Ingredients({}, {}, "", "", 0), tmp_path)
    assert {stage.name for stage in plan.stages} == set(config.stages)
    assert any(stage.type == "evaluate" for stage in config.stages.values())


def test_configs_are_told_from_modules() -> None:
    found = {p for p in METHODS.rglob("*.py") if is_config(p.relative_to(METHODS))}
    assert set(CONFIGS) <= found
    assert {p.relative_to(METHODS).parts[0] for p in found - set(CONFIGS)} == {"_base_"}


def test_a_variant_changes_what_it_says_and_inherits_the_rest() -> None:
    base = loaded(path=METHODS / "vwe" / "voc.py")
    variant = loaded(path=METHODS / "vwe" / "voc_vwl_memory.py")
    assert training(variant).model["variant"] == "vwl_memory"
    assert training(variant).model["k_words"] == training(base).model["k_words"]
    assert training(variant).optim_wrapper == training(base).optim_wrapper
    assert variant.stages["seg"] == base.stages["seg"]


@pytest.mark.parametrize(
    ("method", "dataset", "variant", "message"),
    [
        ("vew", "voc", None, r"no method 'vew' \(did you mean 'vwe'\?\); the methods are cam, "),
        ("vwe", "vco", None, r"no config for dataset 'vco' \(did you mean 'voc'\?\)"),
        ("vwe", "voc", "vwl_lerned", r"variant 'vwl_lerned' .*\(did you mean 'voc_vwl_learned'\?\)"),
        ("modules", "voc", None, "no method 'modules'"),
    ],
)
def test_unknown_names_get_the_nearest_one(
    method: str, dataset: str, variant: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_config(method, dataset, variant)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=3", 3),
        ("a.b=0.5", 0.5),
        ("a.b=true", True),
        ("a.b=None", None),
        ("a.b=(1, 2)", (1, 2)),
        ("a.b={'x': 1}", {"x": 1}),
        ("a.b=train_aug", "train_aug"),
        ("a.b=x=y", "x=y"),
        ("a.b=", ""),
    ],
)
def test_values_are_python_literals_or_else_text(text: str, value: object) -> None:
    override = parse_override(text)
    assert (override.path, override.value) == (("a", "b"), value)


@pytest.mark.parametrize("text", ["a.b=1e999", "a.b=[1, 1e999]", "a.b={1, 2}", "a.b=b'x'"])
def test_values_that_no_config_can_hold_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="a config holds numbers, text, true, false"):
        parse_override(text)


@pytest.mark.parametrize("text", ["nonsense", "=3", "a..b=3", ""])
def test_an_override_without_path_or_value_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not of the form path\.to\.key=value"):
        parse_override(text)


def test_overrides_reach_every_depth() -> None:
    config = loaded(
        "stages.cam.train_cfg.max_epochs=1",
        "stages.cam.train_cfg.checkpoint_interval=5",  # in the schema, not in the config
        "stages.cam.optim_wrapper.optimizer.lr=1",  # an int where a float was
        "stages.cam.model.backbone.depth=34",
        "stages.cam.model.hspp_gamma=3.0",  # an argument of VWE that the config leaves at its default
        "stages.cam_scores.inference.scales=(1.0,)",
        "stages.seg.weights.name=resnet50-imagenet1k-v1",  # a section that the config has not
    )
    cam = training(config)
    assert (cam.train_cfg.max_epochs, cam.train_cfg.checkpoint_interval) == (1, 5)
    assert cam.optim_wrapper["optimizer"]["lr"] == 1
    assert cam.model["backbone"]["depth"] == 34
    assert cam.model["hspp_gamma"] == 3.0
    weights = training(config, "seg").weights
    assert weights is not None
    assert weights.name == "resnet50-imagenet1k-v1"


def test_a_length_in_epochs_becomes_one_in_iterations_with_both_overrides() -> None:
    cam = training(loaded("stages.cam.train_cfg.max_epochs=none", "stages.cam.train_cfg.max_iters=7"))
    assert (cam.train_cfg.max_epochs, cam.train_cfg.max_iters) == (None, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage.cam.split=val", r"no 'stage' \(did you mean 'stages'\?\)"),
        ("stages.cma.split=val", r"no 'cma' \(did you mean 'cam'\?\)"),
        ("stages.cam.train_cfg.max_epoch=1", r"no 'max_epoch' \(did you mean 'max_epochs'\?\)"),
        ("stages.cam.model.k_word=3", r"no 'k_word' \(did you mean 'k_words'\?\)"),
        ("stages.cam.optim_wrapper.optimizer.learning_rate=1", r"no 'learning_rate'.* has .*lr"),
        ("stages.cam.split.name=val", r"stages\.cam\.split is '.*', which has no keys"),
        ("stages.cam.weights.nmae=x", r"no 'nmae' \(did you mean 'name'\?\)"),
        ("stages.cam.model.k_words=many", r"k_words is 64 in the config, so a value of type int is needed"),
        ("stages.cam.model.detach_layer2=1", "is False in the config, so a value of type bool"),
        ("stages.cam.train_cfg.max_epochs=soon", r"stages\.cam\.train_cfg\.max_epochs: .*integer"),
        ("stages.cam.train_cfg.max_iters=3", "give one of max_epochs and max_iters"),
        ("stages.cam.train_dataloader.batch_size=0", "batch_size: .*greater than or equal to 1"),
        ("stages.cam.type=trian", "trian"),
        (
            "stages.pseudo.refiner.type=DenceCRF",
            "no component 'DenceCRF' in mmseg, the harness or methods.vwe",
        ),
        ("stages.cam.model.backbone=3", "backbone has the keys type, depth, .* so a value of type dict"),
        ("stages.cam.train_dataloader.batch_size=true", "batch_size: .*integer"),
        ("stages.seeds.masks=pseudo", "give one of scores and masks"),
        ("stages.seeds.sweep.stop=0", r"stop \(0\) lies below start"),
        ("stages.pseudo_eval.threshold=0.3", "masks have no background threshold"),
    ],
)
def test_a_wrong_override_says_where_and_what_would_fit(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        loaded(text)
    assert "\n" not in str(caught.value)
    assert "--set" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("dataset = dict(name='shapes'", "does not load: SyntaxError"),
        ("title = 1 / 0\n", "does not load: ZeroDivisionError"),
        ("stages = dict()\n", "dataset: Field required"),
        (
            "dataset = dict(name='shapes', num_classes=10)\n"
            "stages = dict(crf=dict(type='evaluate', split='val', masks='x'))\n",
            "stages.crf.number: Field required",
        ),
        (
            "dataset = dict(name='shapes', num_classes=10)\n"
            "stages = dict(crf=dict(type='refine', split='val', scores='x', refiner={}, checkpiont='y'))\n",
            r"stages.crf.checkpiont: is no known key \(did you mean 'checkpoint'\?\)",
        ),
    ],
)
def test_a_broken_config_file_is_one_sentence(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "shapes.py"
    path.write_text(textwrap.dedent(source))
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert "shapes.py" in str(caught.value)
