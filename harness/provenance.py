"""Where a run comes from: the part of its record that is known before the first stage."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from harness import __version__
from harness.hardware import git_state
from harness.prepare import Prepared
from harness.record import (
    CodeRecord,
    DatasetRecord,
    EnvironmentRecord,
    RunRecord,
    StageRecord,
    WeightsRecord,
)


def new_record(prepared: Prepared) -> RunRecord:
    """The record of a run that begins now."""
    options, environment = prepared.options, prepared.environment
    git = git_state()
    return RunRecord(
        run_id=options.run_id or new_run_id(options.method, options.dataset, options.variant),
        method=options.method,
        variant=options.variant,
        title=prepared.config.title,
        dataset=DatasetRecord(
            name=prepared.dataset.name,
            fingerprint=prepared.fingerprint,
            split_fingerprints={split: prepared.dataset.fingerprint([split]) for split in prepared.ids},
            official=prepared.dataset.official,
            images={split: len(ids) for split, ids in prepared.ids.items()},
            split_sizes={split: len(prepared.dataset.ids(split)) for split in prepared.ids},
            notices=list(prepared.notices),
        ),
        config=prepared.config.model_dump(mode="json"),
        overrides=[str(override) for override in options.overrides],
        seed=options.seed,
        limit=options.limit,
        smoke=options.smoke,
        gpus=prepared.gpus,
        code=CodeRecord(
            version=__version__,
            commit=git.commit if git else None,
            dirty=git.dirty if git else None,
            source_hash=prepared.source,
        ),
        environment=EnvironmentRecord(
            executor=environment.executor,
            identity=environment.identity,
            image=environment.image,
            image_id=environment.image_id,
            image_digest=environment.image_digest,
            python=environment.python,
            packages=dict(environment.packages),
        ),
        hardware=prepared.hardware,
        weights=[
            WeightsRecord(name=name, sha256=found.sha256 if found else None)
            for name, found in prepared.weights.items()
        ],
        auxiliary={name: maps.content for name, maps in prepared.auxiliary.items()},
        stages=[
            StageRecord(
                name=stage.name,
                type=stage.config.type,
                key=stage.key,
                state="imported" if stage.imported else "waiting",
                inputs=dict(stage.inputs),
                artifact=str(stage.artifact.folder) if stage.imported else f"artifacts/{stage.key}",
            )
            for stage in prepared.plan.stages
        ],
        started=datetime.now(UTC),
    )


def new_run_id(method: str, dataset: str, variant: str | None) -> str:
    """Time, names and a few random digits."""
    name = "-".join(filter(None, (method, dataset, variant)))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}"
