"""Plans: order, keys that change exactly when the output would, and what is executed again."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.plan import Ingredients, Plan, make_plan, order_stages, select, stages_to_visit
from harness.prepare import stage_source_hash
from harness.schema import MethodConfig

INGREDIENTS = Ingredients(
    dataset={"name": "shapes", "fingerprint": "f0", "ids": {"train": "i0", "val": "i1"}},
    weights={"resnet50": "w0", "resnet101": "v0"},
    code="c0",
    environment="e0",
    seed=0,
    shortened={"smoke": False},
)


def training(**changes: Any) -> dict[str, Any]:
    return {
        "type": "train",
        "split": "train",
        "model": {"type": "CAMNet", "num_classes": 10},
        "weights": {"name": "resnet50", "target": "backbone"},
        "transform": {"type": "LongSideCrop", "crop": 112},
        "train_dataloader": {"batch_size": 16},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "param_scheduler": {"type": "PolyLR", "power": 0.9},
        "train_cfg": {"max_epochs": 5},
        **changes,
    }


STAGES: dict[str, Any] = {
    "cam": training(),
    "scores": {
        "type": "infer",
        "split": "train",
        "checkpoint": "cam",
        "inference": {"type": "MultiScaleCAM"},
    },
    "pseudo": {"type": "refine", "split": "train", "scores": "scores", "refiner": {"type": "DenseCRF"}},
    "seg": training(
        labels="pseudo", weights=None, init={"stage": "cam", "source": "backbone.", "target": "backbone"}
    ),
    "seeds": {
        "type": "evaluate",
        "split": "train",
        "scores": "scores",
        "number": "seed",
        "threshold": 0.2,
        "sweep": {"start": 0.1, "stop": 0.5, "step": 0.1},
    },
}


def config(stages: dict[str, Any]) -> MethodConfig:
    return MethodConfig.model_validate({"dataset": {"name": "shapes", "num_classes": 10}, "stages": stages})


def changed(path: str, value: Any) -> dict[str, Any]:
    """The stages with one value of their config changed."""
    stages = copy.deepcopy(STAGES)
    *parents, last = path.split(".")
    node = stages
    for part in parents:
        node = node[part]
    node[last] = value
    return stages


def keys(stages: dict[str, Any], ingredients: Ingredients = INGREDIENTS) -> dict[str, str]:
    plan = make_plan(config(stages), ingredients, Path("artifacts"))
    return {stage.name: stage.key for stage in plan.stages}


def differing(stages: dict[str, Any], ingredients: Ingredients = INGREDIENTS) -> set[str]:
    before, after = keys(STAGES), keys(stages, ingredients)
    return {name for name in before if before[name] != after[name]}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(config(STAGES), INGREDIENTS, tmp_path)


ALL = {"cam", "scores", "pseudo", "seg", "seeds"}


def test_inputs_come_first_and_numbers_as_soon_as_they_can_be_had() -> None:
    assert order_stages(config(STAGES)) == ["cam", "scores", "seeds", "pseudo", "seg"]
    backwards = dict(reversed(STAGES.items()))
    assert order_stages(config(backwards)) == ["cam", "scores", "seeds", "pseudo", "seg"]


def test_a_circle_is_named() -> None:
    with pytest.raises(InputError, match=r"in a circle: .*→.*"):
        order_stages(config(changed("cam.labels", "pseudo")))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("pseudo.scores", "scoers", r"pseudo\.scores names a stage 'scoers'.*did you mean 'scores'\?"),
        ("pseudo.scores", "cam", r"pseudo\.scores needs scores, but stage 'cam' makes checkpoint"),
        ("seg.labels", "scores", r"seg\.labels needs masks, but stage 'scores' makes scores"),
        ("seg.init.stage", "pseudo", r"seg\.init needs checkpoint, but stage 'pseudo' makes masks"),
        ("scores.epoch", 5, r"scores\.epoch is 5, but stage 'cam' keeps no checkpoint of it: .*keep_epochs"),
    ],
)
def test_inputs_that_cannot_be_are_refused_before_anything_runs(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        order_stages(config(changed(path, value)))


def test_an_epoch_that_is_kept_can_be_asked_for() -> None:
    stages = changed("cam.train_cfg.keep_epochs", [4, 5])
    stages["scores"]["epoch"] = 5
    assert "scores" in order_stages(config(stages))


@pytest.mark.parametrize(
    ("ingredients", "stages"),
    [
        (replace(INGREDIENTS, dataset={**INGREDIENTS.dataset, "fingerprint": "f1"}), ALL),
        (replace(INGREDIENTS, dataset={**INGREDIENTS.dataset, "ids": {"train": "i2"}}), ALL),
        (replace(INGREDIENTS, code="c1"), ALL),
        (replace(INGREDIENTS, environment="e1"), ALL),
        (replace(INGREDIENTS, seed=1), ALL),
        (replace(INGREDIENTS, shortened={"smoke": True}), ALL),
        (replace(INGREDIENTS, weights={**INGREDIENTS.weights, "resnet50": "w1"}), ALL),
        (replace(INGREDIENTS, weights={**INGREDIENTS.weights, "resnet50": None}), ALL),
        (replace(INGREDIENTS, weights={**INGREDIENTS.weights, "resnet101": "v1"}), set()),
    ],
)
def test_keys_follow_what_outputs_depend_on(ingredients: Ingredients, stages: set[str]) -> None:
    assert differing(STAGES, ingredients) == stages


@pytest.mark.parametrize(
    ("path", "value", "stages"),
    [
        ("cam.model.num_classes", 11, ALL),
        ("cam.split", "train_aug", ALL),
        ("cam.optim_wrapper.optimizer.lr", 0.2, ALL),
        ("cam.train_dataloader.batch_size", 8, ALL),
        ("cam.train_cfg.max_epochs", 6, ALL),
        ("cam.train_cfg.keep_epochs", [5], ALL),
        ("cam.weights.target", "", ALL),
        ("scores.inference.scales", [1.0], ALL - {"cam"}),
        ("pseudo.refiner.crf", {"iterations": 5}, {"pseudo", "seg"}),
        ("seg.init.source", "", {"seg"}),
        ("seeds.threshold", 0.3, {"seeds"}),
        ("seeds.number", "pseudo", {"seeds"}),
        ("cam.train_dataloader.num_workers", 7, set()),
        ("cam.train_cfg.checkpoint_interval", 7, set()),
        ("cam.train_cfg.log_interval", 7, set()),
    ],
)
def test_a_changed_setting_changes_its_stage_and_all_after_it(
    path: str, value: Any, stages: set[str]
) -> None:
    assert differing(changed(path, value)) == stages


def test_a_renamed_stage_keeps_its_key_and_those_of_its_readers() -> None:
    stages = {{"cam": "classifier", "pseudo": "masks"}.get(name, name): s for name, s in STAGES.items()}
    stages = copy.deepcopy(stages)
    stages["scores"]["checkpoint"] = stages["seg"]["init"]["stage"] = "classifier"
    stages["seg"]["labels"] = "masks"
    after = keys(stages)
    assert {after[n] for n in after} == set(keys(STAGES).values())
    assert after["classifier"] == keys(STAGES)["cam"]


def test_the_same_settings_in_another_order_have_the_same_key() -> None:
    stages = copy.deepcopy(STAGES)
    stages["cam"] = dict(reversed(stages["cam"].items()))
    assert differing(stages) == set()


def test_configs_and_documentation_are_no_part_of_the_code_but_modules_are(tmp_path: Path) -> None:
    methods = tmp_path / "methods"
    (methods / "cam").mkdir(parents=True)
    (methods / "_base_" / "datasets").mkdir(parents=True)
    (methods / "cam" / "model.py").write_text("a = 1\n")
    before = stage_source_hash(methods)
    for name in ("cam/voc.py", "cam/shapes_small.py", "_base_/datasets/voc.py", "weights.yaml", "README.md"):
        (methods / name).write_text("b = 2\n")
    assert stage_source_hash(methods) == before
    (methods / "cam" / "losses.py").write_text("c = 3\n")
    assert stage_source_hash(methods) != before


def test_from_means_the_stage_and_all_that_depends_on_it(plan: Plan) -> None:
    assert select(plan) == set()
    assert select(plan, start="pseudo") == {"pseudo", "seg"}
    assert select(plan, start="cam") == ALL
    assert select(plan, force=True) == ALL
    assert select(plan, only="seg") == set()
    assert select(plan, only="seg", force=True) == {"seg"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "psuedo"}, r"--from psuedo: no such stage \(did you mean 'pseudo'\?\); the plan has cam"),
        ({"only": "segg"}, r"--only segg: no such stage \(did you mean 'seg'\?\)"),
        ({"start": "cam", "only": "seg"}, "exclude each other"),
    ],
)
def test_stages_that_cannot_be_selected(plan: Plan, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(plan, **options)  # type: ignore[arg-type]


def test_only_needs_whole_inputs(plan: Plan) -> None:
    assert len(stages_to_visit(plan, None)) == len(ALL)
    with pytest.raises(
        InputError, match=r"--only scores needs the output of stage 'cam', which is not there"
    ):
        stages_to_visit(plan, "scores")
    artifact = plan["cam"].artifact.open()
    (artifact.files / "model.pth").write_bytes(b"weights")
    artifact.finish("checkpoint", "cam", plan["cam"].key, {})
    assert [stage.name for stage in stages_to_visit(plan, "scores")] == ["scores"]
    (artifact.files / "model.pth").write_bytes(b"half")
    with pytest.raises(InputError, match=r"stage 'cam', but .*model\.pth has 4 bytes instead of 7"):
        stages_to_visit(make_plan(config(STAGES), INGREDIENTS, artifact.folder.parent), "scores")
