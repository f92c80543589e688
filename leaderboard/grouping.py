"""Which runs are repetitions of each other, and what a run's final network is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.files import canonical_json
from harness.record import RunRecord, StageRecord


@dataclass(frozen=True, order=True)
class Setup:
    """What runs must share for their mean to mean something: all but the seed and the machine.

    Hashes are cut to what a reader can compare. Runs of different source are different setups: a mean over
    them would mix what a change of the code did with what chance did.
    """

    dataset: str
    method: str
    variant: str
    config: str
    data: str
    weights: str
    code: str
    marks: tuple[str, ...]


def setup_of(record: RunRecord) -> Setup:
    """The setup of a run."""
    weights = sorted((weights.name, weights.sha256 or "random") for weights in record.weights)
    imported = [stage.key for stage in record.stages if stage.state == "imported"]
    return Setup(
        dataset=record.dataset.name,
        method=record.method,
        variant=record.variant or "",
        config=_short_hash([record.config, record.overrides]),
        data=_short_hash([record.dataset.fingerprint, record.dataset.images, record.auxiliary, imported]),
        weights=_short_hash(weights) if weights else "none",
        code=record.code.source_hash[:8],
        marks=tuple(record.marks),
    )


def group_runs(records: Iterable[RunRecord]) -> dict[Setup, list[RunRecord]]:
    """Finished runs with numbers by their setup, one per seed, by seed.

    A later run that reused all of an earlier one is the same work, and one that repeated it with `--force`
    took its place: of the runs with one seed, the one with the most numbers stands for all, the latest of
    several.
    """
    groups: dict[Setup, dict[int, RunRecord]] = {}
    for record in records:
        if record.state != "done" or not record.metrics:
            continue
        seeds = groups.setdefault(setup_of(record), {})
        known = seeds.get(record.seed)
        if known is None or _completeness(record) >= _completeness(known):
            seeds[record.seed] = record
    return {setup: [seeds[seed] for seed in sorted(seeds)] for setup, seeds in sorted(groups.items())}


def _completeness(record: RunRecord) -> tuple[int, float]:
    return len(record.metrics), record.started.timestamp()


def final_network(record: RunRecord) -> str | None:
    """The network whose predictions are the run's `seg` numbers, as `DeepLabV2, StageResNet-101`.

    None where the run has no such number, or the config does not tell how it came about.
    """
    stages = record.config.get("stages", {})
    by_name = {stage.name: stage for stage in record.stages}
    for name, config in stages.items():
        if config.get("type") == "evaluate" and config.get("number") in ("seg", "seg_crf"):
            trained = _trained_before(name, by_name)
            if trained is not None and isinstance(stages.get(trained, {}).get("model"), Mapping):
                return network_name(stages[trained]["model"])
    return None


def _trained_before(name: str, stages: Mapping[str, StageRecord]) -> str | None:
    """The training that an evaluation's predictions come from: the first one upstream."""
    waiting, seen = [name], {name}
    while waiting:
        stage = stages.get(waiting.pop(0))
        if stage is None:
            continue
        if stage.type == "train":
            return stage.name
        waiting += [source for source in stage.inputs.values() if source not in seen]
        seen.update(stage.inputs.values())
    return None


def network_name(model: Mapping[str, Any]) -> str:
    """Type of a model and of its backbone with the depth or architecture, as far as the config says."""
    name = str(model.get("type", "network"))
    backbone = model.get("backbone")
    if not isinstance(backbone, Mapping):
        return name
    size = next((backbone[key] for key in ("depth", "arch", "name") if backbone.get(key)), None)
    return f"{name}, {backbone.get('type', 'backbone')}" + (f"-{size}" if size is not None else "")


def _short_hash(document: Any) -> str:
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()[:8]
