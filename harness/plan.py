"""The plan of a run: stages in order, each with the key that says what its output depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.errors import InputError, nearest
from harness.files import canonical_json
from harness.schema import (
    AnyStage,
    ForeignStage,
    InferStage,
    MethodConfig,
    TrainStage,
    input_kind,
    output_kind,
    takes,
)

# A key holds what can change a stage's output; these settings change speed, logs and resumption only.
_NEUTRAL = {
    ("train_dataloader", "num_workers"),
    ("train_cfg", "checkpoint_interval"),
    ("train_cfg", "log_interval"),
    ("train_cfg", "log_to"),
}


@dataclass(frozen=True)
class Ingredients:
    """What all keys of a run depend on, beside the stages themselves.

    Attributes:
        dataset: name, fingerprint and the ids' hash per split.
        weights: SHA-256 and layout per weights name; None where training starts from random numbers.
        auxiliary: content hash of the maps per name.
        code: hash of the source that stages execute.
        environment: identity of the interpreter and its packages (see `harness.executors`).
        seed: the run's seed.
        shortened: `limit` and `smoke`, which change what a stage does.
        processes: that share a training, whose batch statistics and sums are then slightly other ones.
        images: id of each foreign image by the name that stages give it.
    """

    dataset: Mapping[str, Any]
    weights: Mapping[str, str | None]
    code: str
    environment: str
    seed: int
    shortened: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan.

    Attributes:
        inputs: per role (`checkpoint`, `scores`, …) the name of the stage that makes it.
        key: hash of all that the output depends on.
        artifact: where the output is or will be.
        imported: the output was given by the user; it has no inputs, and its key is the hash of its content.
    """

    name: str
    config: AnyStage
    inputs: Mapping[str, str]
    key: str
    artifact: Artifact
    imported: bool = False

    @property
    def kind(self) -> str:
        """Kind of the artifact."""
        return output_kind(self.config)


@dataclass(frozen=True)
class Plan:
    """Stages in an order in which each comes after its inputs."""

    stages: tuple[PlannedStage, ...]

    def __getitem__(self, name: str) -> PlannedStage:
        return next(stage for stage in self.stages if stage.name == name)

    def descendants(self, name: str) -> set[str]:
        """The stage itself and all that depend on it."""
        found = {name}
        for stage in self.stages:
            if found & set(stage.inputs.values()):
                found.add(stage.name)
        return found


def order_stages(config: MethodConfig) -> list[str]:
    """Names of the stages, inputs first; numbers as soon as they can be had, else in the config's order.

    Raises:
        InputError: a stage reads one that is not there, that makes another kind of artifact or that does not
            keep the epoch it asks for; or stages depend on each other in a circle.
    """
    graph: dict[str, list[str]] = {}
    for name, stage in config.stages.items():
        for role, source in stage.inputs().items():
            _check_input(config, name, role, source)
        graph[name] = list(stage.inputs().values())
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        raise InputError(f"stages depend on each other in a circle: {' → '.join(error.args[1])}") from error
    rank = {
        name: (stage.type != "evaluate", position)
        for position, (name, stage) in enumerate(config.stages.items())
    }
    ready: list[str] = []
    order: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=rank.__getitem__)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def _check_input(config: MethodConfig, name: str, role: str, source: str) -> None:
    if source not in config.stages:
        raise InputError(
            f"stages.{name}.{role} names a stage '{source}' that is not there"
            f"{nearest(source, config.stages)}; the stages are {', '.join(config.stages)}"
        )
    kind = output_kind(config.stages[source])
    if not takes(config.stages[name], role, kind):
        raise InputError(
            f"stages.{name}.{role} needs {input_kind(role)}, but stage '{source}' makes {kind}: "
            "name another stage"
        )
    stage, training = config.stages[name], config.stages[source]
    epoch = stage.epoch if isinstance(stage, InferStage) else None
    if isinstance(training, TrainStage) and epoch is not None and epoch not in training.train_cfg.keep_epochs:
        raise InputError(
            f"stages.{name}.epoch is {epoch}, but stage '{source}' keeps no checkpoint of it: "
            f"add it to stages.{source}.train_cfg.keep_epochs"
        )


def make_plan(
    config: MethodConfig,
    ingredients: Ingredients,
    artifacts: Path,
    imported: Mapping[str, Artifact] | None = None,
) -> Plan:
    """Order the stages and give each its key and artifact folder.

    Args:
        config: the checked method config.
        ingredients: what the keys depend on beside it.
        artifacts: folder that holds one folder per key.
        imported: whole artifacts that take the place of stages; what only those would read is left out.
    """
    imported = imported or {}
    keys: dict[str, str] = {}
    stages = []
    for name in needed_stages(config, imported):
        stage = config.stages[name]
        if name in imported:
            keys[name] = imported[name].manifest.content_key
            stages.append(PlannedStage(name, stage, {}, keys[name], imported[name], imported=True))
            continue
        keys[name] = stage_key(
            stage, {role: keys[source] for role, source in stage.inputs().items()}, ingredients
        )
        stages.append(PlannedStage(name, stage, stage.inputs(), keys[name], Artifact(artifacts / keys[name])))
    return Plan(tuple(stages))


def needed_stages(config: MethodConfig, imported: Collection[str]) -> list[str]:
    """Names of the stages of a plan, inputs first, without those that only imported stages would read."""
    order = order_stages(config)
    read = {source for name in order for source in config.stages[name].inputs().values()}
    needed: set[str] = set()
    for name in reversed(order):
        if name in needed or name not in read:
            needed.add(name)
            needed |= set() if name in imported else set(config.stages[name].inputs().values())
    return [name for name in order if name in needed]


def stage_key(stage: AnyStage, inputs: Mapping[str, str], ingredients: Ingredients) -> str:
    """Hash of all that a stage's output depends on (32 hex digits); its name is no part of it."""
    if isinstance(stage, ForeignStage):
        return _foreign_key(stage, inputs, ingredients)
    config = stage.model_dump(mode="json")
    for section, setting in _NEUTRAL:
        config.get(section, {}).pop(setting, None)
    for role in inputs:  # the input's key stands for its name
        if not role.startswith("init"):
            config.pop(role)
    inits = config.get("init") or []
    for init in inits if isinstance(inits, list) else [inits]:
        init.pop("stage")
    weights = stage.weights.name if isinstance(stage, TrainStage) and stage.weights else None
    material = {
        "config": config,
        "inputs": dict(inputs),
        "dataset": dict(ingredients.dataset),
        "weights": ingredients.weights.get(weights) if weights else None,
        "auxiliary": {name: ingredients.auxiliary.get(name) for name in _auxiliary(stage)},
        "code": ingredients.code,
        "environment": ingredients.environment,
        "seed": ingredients.seed,
        "shortened": dict(ingredients.shortened),
    }
    if isinstance(stage, TrainStage) and ingredients.processes > 1:
        material["processes"] = ingredients.processes
    return hashlib.sha256(canonical_json(material).encode()).hexdigest()[:32]


def _foreign_key(stage: ForeignStage, inputs: Mapping[str, str], ingredients: Ingredients) -> str:
    """As `stage_key`, for a stage whose image is all its code and environment."""
    material = {
        "config": stage.model_dump(mode="json", exclude={"reads"}),
        "inputs": dict(inputs),
        "dataset": dict(ingredients.dataset),
        "image": ingredients.images[stage.foreign.image],
        "seed": ingredients.seed,
        "shortened": dict(ingredients.shortened),
    }
    return hashlib.sha256(canonical_json(material).encode()).hexdigest()[:32]


def _auxiliary(stage: AnyStage) -> Sequence[str]:
    return stage.auxiliary if isinstance(stage, TrainStage) else ()


def select(plan: Plan, *, start: str | None = None, only: str | None = None, force: bool = False) -> set[str]:
    """Names of the stages to execute although their artifact may be there.

    Args:
        start: `--from`: this stage and all that depend on it.
        only: `--only`: this stage alone.
        force: `--force`: all stages, or the one of `only`.

    Raises:
        InputError: the stage is not in the plan, or both `start` and `only` are given.
    """
    names = [stage.name for stage in plan.stages]
    require_stages(names, start=start, only=only)
    if start:
        return plan.descendants(start)
    if only:
        return {only} if force else set()
    return set(names) if force else set()


def require_stages(names: Sequence[str], *, start: str | None, only: str | None) -> None:
    """Check what `--from` and `--only` name.

    Raises:
        InputError: the stage is not in the plan, or both are given.
    """
    for option, name in (("--from", start), ("--only", only)):
        if name is not None and name not in names:
            raise InputError(
                f"{option} {name}: no such stage{nearest(name, names)}; the plan has {', '.join(names)}"
            )
    if start and only:
        raise InputError("--from and --only exclude each other: give one of them")


def stages_to_visit(plan: Plan, only: str | None) -> Sequence[PlannedStage]:
    """The stages that a run looks at: all of them, or with `only` that one (its inputs must be there).

    Raises:
        InputError: an input of the only stage is not there or not whole.
    """
    if only is None:
        return plan.stages
    stage = plan[only]
    for source in stage.inputs.values():
        artifact = plan[source].artifact
        if not artifact.complete:
            raise InputError(
                f"--only {only} needs the output of stage '{source}', which is not there: run it first"
            )
        if problem := artifact.problem():
            raise InputError(
                f"--only {only} needs the output of stage '{source}', but {problem}: run it again"
            )
    return [stage]
