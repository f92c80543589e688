"""Where the curves of a training go: TensorBoard, Weights & Biases, MLflow, by mmengine's back ends.

Without a word from the user nothing leaves the machine: MLflow writes to a file store in the work folder, and
W&B writes an offline run into the artifact. The variables `MLFLOW_TRACKING_URI` and `WANDB_MODE` say
otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifact import Artifact
from harness.errors import InputError, nearest
from harness.executors import Environment
from harness.request import StageRequest
from harness.schema import MethodConfig, TrainStage

if TYPE_CHECKING:
    from mmengine.visualization import Visualizer

# Packages of which one must be there, by the tool that they bring.
TOOLS: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "mlflow-skinny"),
}
# Set where the user has not. MLflow 3 refuses file stores unless they are asked for by this name.
_DEFAULTS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_MODE": "offline"}
_PROJECT = "wsss-harness"


def require_tools(config: MethodConfig, asked: Sequence[str], environment: Environment, work: Path) -> None:
    """Check that trainings can log to what they are to log to.

    Args:
        config: whose trainings they are.
        asked: `--log-to`.
        environment: where stages are executed.
        work: work folder of the run.

    Raises:
        InputError: there is no such tool, its package is missing, or MLflow would have nowhere to write to.
    """
    for name in asked:
        if name not in TOOLS:
            raise InputError(
                f"--log-to {name}: there is no such tool{nearest(name, TOOLS)}; "
                f"the tools are {', '.join(TOOLS)}"
            )
    trainings = [stage for stage in config.stages.values() if isinstance(stage, TrainStage)]
    tools = dict.fromkeys([*asked, *(name for stage in trainings for name in stage.train_cfg.log_to)])
    for name in tools:
        if not any(package in environment.packages for package in TOOLS[name]):
            where = f"the image {environment.image}" if environment.image else "this interpreter"
            raise InputError(
                f"trainings are to log to {name}, but {where} has no package {' or '.join(TOOLS[name])}: "
                f"install it there (pip install {TOOLS[name][-1]}), or log to something else"
            )
    if "mlflow" in tools:
        _require_store(environment, work)


def _require_store(environment: Environment, work: Path) -> None:
    """MLflow reads and writes no run below a folder of this name, which it takes for one of its own."""
    if environment.image:
        raise InputError(
            "trainings are to log to mlflow, but a container may write to its artifact only and has no "
            "network: run with --executor local, or log to something else"
        )
    if "artifacts" in mlflow_store(work).parts and "MLFLOW_TRACKING_URI" not in os.environ:
        raise InputError(
            f"MLflow refuses its store {mlflow_store(work)}, because it lies in a folder named 'artifacts': "
            "use another --work-dir, or set MLFLOW_TRACKING_URI"
        )


def mlflow_store(work: Path) -> Path:
    """MLflow's file store of a work folder, shared by its runs."""
    return work.resolve() / "mlruns"


def vis_backends(request: StageRequest, artifact: Artifact) -> list[dict[str, Any]]:
    """Configs of mmengine's back ends for a training, and the environment that they need.

    Args:
        request: names the tools and what the curves are of.
        artifact: the training's; files of the tools go there.
    """
    stage = TrainStage.model_validate(request.config)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    build = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    return [
        build[name](request, artifact) for name in dict.fromkeys([*stage.train_cfg.log_to, *request.log_to])
    ]


def labels(request: StageRequest) -> dict[str, str]:
    """What the curves are of, as tags."""
    run = request.run
    found = {
        "run_id": run.run_id if run else None,
        "method": run.method if run else None,
        "variant": run.variant if run else None,
        "dataset": request.dataset.name,
        "seed": str(request.seed),
        "stage": request.stage,
        "key": request.key,
    }
    return {name: value for name, value in found.items() if value}


def log_config(visualizer: Visualizer, request: StageRequest, artifact: Artifact) -> None:
    """Hand the config to MLflow, whose back end cannot be closed without one; W&B has it from its start."""
    if (backend := visualizer.get_backend("MLflowVisBackend")) is not None:
        from mmengine.config import Config

        backend.add_config(Config({"work_dir": str(artifact.files), **request.config}))


def remove_links(folder: Path) -> None:
    """Remove the links that W&B makes to its latest run: an artifact holds files."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            path.unlink()


def _tensorboard(request: StageRequest, artifact: Artifact) -> dict[str, Any]:
    return {"type": "TensorboardVisBackend"}


def _mlflow(request: StageRequest, artifact: Artifact) -> dict[str, Any]:
    return {
        "type": "MLflowVisBackend",
        "save_dir": str(request.run.mlruns if request.run and request.run.mlruns else artifact.state),
        "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI"),
        "exp_name": _experiment(request),
        "run_name": _name(request),
        "tags": labels(request),
        "artifact_suffix": (),  # it would copy all files of these kinds, our own log among them
    }


def _wandb(request: StageRequest, artifact: Artifact) -> dict[str, Any]:
    tags = labels(request)
    return {
        "type": "WandbVisBackend",
        "save_dir": str(artifact.files),
        "init_kwargs": {
            "project": os.environ.get("WANDB_PROJECT", _PROJECT),
            "group": tags.get("run_id"),
            "name": _name(request),
            "job_type": request.stage,
            "tags": [_experiment(request), f"seed {request.seed}"],
            "config": {**tags, **request.config},
        },
    }


def _experiment(request: StageRequest) -> str:
    return "-".join(filter(None, (request.run.method if request.run else None, request.dataset.name)))


def _name(request: StageRequest) -> str:
    return f"{request.run.run_id if request.run else request.key[:8]} {request.stage}"
