"""`--use STAGE=PATH`: what a user has already takes the place of a stage's output."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.components import import_modules
from harness.errors import InputError, nearest
from harness.files import canonical_json, file_sha256
from harness.plan import Plan
from harness.schema import MethodConfig, TrainStage, output_kind

_SHOWN = 3  # names of tensors in a message


def import_stages(config: MethodConfig, choices: Sequence[str], artifacts: Path) -> dict[str, Artifact]:
    """Open what takes the place of stages.

    Args:
        config: whose stages they are.
        choices: `STAGE=PATH`: the folder of an artifact, as `harness results import` and each stage makes it,
            or a checkpoint with our names in the place of a training.
        artifacts: folder of the artifacts, where a checkpoint is copied to.

    Raises:
        InputError: one is not of this form, names no stage, is not whole or not what the stage makes.
    """
    imported = {}
    for choice in choices:
        name, equals, given = choice.partition("=")
        if not equals or not given:
            raise InputError(f"--use {choice} is not of the form STAGE=PATH, as in --use cam_scores=DIR")
        if name not in config.stages:
            raise InputError(
                f"--use {choice}: there is no stage '{name}'{nearest(name, config.stages)}; the stages are "
                f"{', '.join(config.stages)}"
            )
        path, stage = Path(given).expanduser().resolve(), config.stages[name]
        if isinstance(stage, TrainStage) and path.is_file():
            imported[name] = _import_checkpoint(choice, path, config, stage, artifacts)
        else:
            imported[name] = _open(choice, path, output_kind(stage))
    return imported


def _open(choice: str, path: Path, kind: str) -> Artifact:
    artifact = Artifact(path)
    if not artifact.complete:
        remedy = "name a checkpoint that `harness weights convert` has written"
        if kind in ("scores", "masks"):
            remedy = "import the predictions with `harness results import` first"
        raise InputError(f"--use {choice}: {path} is no artifact (it has no manifest.json): {remedy}")
    if problem := artifact.problem():
        raise InputError(f"--use {choice}: {problem}: import it anew")
    if artifact.manifest.kind != kind:
        raise InputError(
            f"--use {choice}: the stage makes {kind}, but {path} holds {artifact.manifest.kind}: name another"
        )
    return artifact


def _import_checkpoint(
    choice: str, path: Path, config: MethodConfig, stage: TrainStage, artifacts: Path
) -> Artifact:
    """Make an artifact of a file with a state dict, whose folder is named by what is in the file."""
    meta: dict[str, Any] = {"model": stage.model, "imported": True}
    material = {"file": file_sha256(path), **meta}
    artifact = Artifact(artifacts / f"imported-{_short_hash(material)}")
    if artifact.complete and artifact.problem() is None:
        return artifact
    _require_fit(choice, path, config, stage)
    artifact.discard()
    artifact.open()
    shutil.copyfile(path, artifact.files / "model.pth")
    artifact.finish("checkpoint", "imported", "imported", meta)
    return artifact


def _short_hash(material: Any) -> str:
    return hashlib.sha256(canonical_json(material).encode()).hexdigest()[:32]


def _require_fit(choice: str, path: Path, config: MethodConfig, stage: TrainStage) -> None:
    """Check names and shapes of a checkpoint against the stage's network, built without memory."""
    import torch
    from mmseg.registry import MODELS

    from harness.weights import load_state

    state = load_state(path)
    import_modules(config.custom_imports)
    with torch.device("meta"):
        expected = MODELS.build(stage.model).state_dict()
    missing = [name for name in expected if name not in state]
    wrong = [n for n, tensor in state.items() if n not in expected or expected[n].shape != tensor.shape]
    if missing or wrong:
        raise InputError(
            f"--use {choice}: the checkpoint does not fit {stage.model['type']}: {len(missing)} tensors are "
            f"missing ({', '.join(missing[:_SHOWN]) or 'none'}) and {len(wrong)} are unknown or of another "
            f"shape ({', '.join(wrong[:_SHOWN]) or 'none'}): convert it with `harness weights convert`"
        )


def require_predictions(plan: Plan, ids: Mapping[str, Sequence[str]], *, only: str | None = None) -> None:
    """Check that imported scores and masks cover the images of each stage that reads them.

    Args:
        plan: the plan with the imported artifacts.
        ids: image ids per split.
        only: the one stage that is to be executed, if it is one.

    Raises:
        InputError: an image has no prediction.
    """
    readers = [stage for stage in plan.stages if only in (None, stage.name)]
    for stage in readers:
        for role, source in stage.inputs.items():
            artifact, split = plan[source].artifact, stage.config.split
            if not plan[source].imported or role not in ("scores", "masks", "labels"):
                continue
            suffix = ".png" if artifact.manifest.kind == "masks" else ".npz"
            missing = [name for name in ids[split] if f"{name}{suffix}" not in artifact.manifest.files]
            if missing:
                raise InputError(
                    f"--use {source}: {artifact.folder} has no prediction for {len(missing)} of "
                    f"{len(ids[split])} images of split '{split}', which stage '{stage.name}' reads (the "
                    f"first is {missing[0]}): import them too, or leave that stage out with --only"
                )
