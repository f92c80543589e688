"""The `train` stage: mmengine's Runner over a resumable stream of samples; the artifact is a checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmseg.registry import MODELS, TRANSFORMS

from harness import schedules as _schedules  # noqa: F401  registers them
from harness.artifact import INSPECTION, Artifact
from harness.conversion import CONVERTERS
from harness.data import transforms as _transforms  # noqa: F401  registers them
from harness.data.loader import TrainLoader
from harness.data.stream import Labels, TrainStream
from harness.errors import InputError, nearest
from harness.files import atomic_file, write_json
from harness.monitor import Throughput
from harness.processes import require_even_batch
from harness.schema import Init, TrainConfig, TrainStage, Weights
from harness.stage import StageContext, StageResult
from harness.stages.team import Team, stage_device
from harness.stages.train_hooks import LossHistory, ResumePoints, StageProgress, latest_resume_point
from harness.stages.validation import ValidationHook
from harness.training_logs import log_config, remove_links, vis_backends
from harness.weights import load_state

SMOKE_BATCH, SMOKE_ITERATIONS = 2, 3


@dataclass(frozen=True)
class Schedule:
    """Length of a training in iterations."""

    batch_size: int
    iterations: int
    per_epoch: int

    @classmethod
    def of(
        cls, config: TrainConfig, images: int, batch_size: int, smoke: bool, processes: int = 1
    ) -> Schedule:
        """Iterations of a training over `images` samples, last incomplete batch of an epoch dropped.

        Raises:
            InputError: the batch cannot be shared evenly.
        """
        if smoke:
            batch_size = SMOKE_BATCH * processes
        require_even_batch(batch_size, processes)
        per_epoch = max(images // batch_size, 1)
        if config.max_iters is not None:
            iterations = config.max_iters
        else:
            iterations = per_epoch * (config.max_epochs or 0)
        return cls(batch_size, min(iterations, SMOKE_ITERATIONS) if smoke else iterations, per_epoch)


def run(context: StageContext) -> StageResult:
    """Train the configured model; with several processes each has its part of every batch.

    Raises:
        InputError: the split is empty, labels or weights do not fit.
    """
    context.import_modules()
    with Team(context, connected=True) as team:
        return _run(context, team)


def _run(context: StageContext, team: Team) -> StageResult:
    config = TrainStage.model_validate(context.request.config)
    ids = context.ids()
    if not ids:
        raise InputError(
            f"split '{config.split}' of dataset '{context.dataset.name}' has no images to train on"
        )
    schedule = Schedule.of(
        config.train_cfg, len(ids), config.train_dataloader.batch_size, context.request.smoke, team.size
    )
    torch.manual_seed(context.request.seed)
    model = MODELS.build(config.model)
    model.init_weights()
    if config.weights is not None and context.request.weights is not None:
        load_weights(model, context.request.weights, config.weights, context.request.weights_layout)
    for role, init in config.inits().items():
        init_from_stage(model, context.input(role), init)
    if config.train_cfg.compile:
        compile_part(model, config.train_cfg.compile)
    point = latest_resume_point(context.artifact.state)
    start = point.iteration if point else 0
    context.progress.begin(schedule.iterations, "iterations", start)
    history, throughput = LossHistory(config.train_cfg.log_interval), Throughput()
    validation = (
        ValidationHook(context, config.validation, schedule.per_epoch, start) if config.validation else None
    )
    if start < schedule.iterations:
        loader = make_loader(context, config, schedule, start)
        runner = make_runner(
            context, config, schedule, shared_model(model, context), loader, point.path if point else None
        )
        for hook in (
            history,
            StageProgress(context.progress, throughput, schedule.batch_size),
            *([validation] if validation else []),  # before a point of resumption that lies behind it
            ResumePoints(context.artifact, config.train_cfg, schedule.per_epoch),
        ):
            runner.register_hook(hook, priority="LOW")
        if team.leads:
            log_config(runner.visualizer, context.request, context.artifact)
        _train(runner)
    best = validation.best_checkpoint() if validation else None
    if team.leads:
        _keep_model(context, model, best.path if best else None)
        if isinstance(model, Inspectable):
            write_json(context.artifact.files / INSPECTION, model.inspection())
        _keep_logs(context)
    return StageResult(
        meta={
            "model": config.model,
            "iterations": schedule.iterations,
            "batch_size": schedule.batch_size,
            "images": len(ids),
            **({"best_iteration": best.iteration} if best else {}),
        },
        images=(schedule.iterations - start) * schedule.batch_size,
        images_per_second=throughput.images_per_second,
        resumed_at=start,
        losses=history.curves,
        validation=validation.curves() if validation else None,
    )


def _keep_model(context: StageContext, model: torch.nn.Module, best: Path | None) -> None:
    """Write `model.pth`: the best state that was saved, or the last one."""
    target = context.artifact.files / "model.pth"
    if best is None:
        save_model(model, target)
        return
    # A copy: killed before the manifest, the training would need the state once more.
    with best.open("rb") as source, atomic_file(target) as file:
        shutil.copyfileobj(source, file)


def shared_model(model: torch.nn.Module, context: StageContext) -> torch.nn.Module:
    """The model as processes train it together: gradients are averaged, buffers are those of the leader.

    A parameter that a batch does not reach keeps its value, as in one process.
    """
    if context.request.processes == 1:
        return model
    device = stage_device(context)
    return MMDistributedDataParallel(
        model.to(device),
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=True,
    )


def _train(runner: Runner) -> None:
    """Train; an image or label that a data loading process finds wrong is one sentence here too."""
    try:
        runner.train()
    except InputError as error:  # torch puts the process's whole traceback into the message
        raise InputError(str(error).strip().rpartition(f"{InputError.__module__}.InputError: ")[2]) from error


def submodule(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """A part of a model by its dotted name; the model itself for the empty one.

    Raises:
        InputError: there is none.
    """
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        parts = [part for part, _ in model.named_children()]
        raise InputError(
            f"{type(model).__name__} has no part '{name}'{nearest(name, parts)} that initial values could go "
            f"to; it has {', '.join(parts)}"
        ) from error


def compile_part(model: torch.nn.Module, name: str) -> None:
    """Let a part of a model go through `torch.compile`, in its place: names in checkpoints stay.

    Raises:
        InputError: there is no such part, or no compiler.
    """
    part = submodule(model, name)
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise InputError(
            f"train_cfg.compile needs the C++ compiler '{compiler}', which is not in PATH: install one, name "
            "another by CXX, or leave train_cfg.compile out"
        )
    part.compile()


@runtime_checkable
class Inspectable(Protocol):
    """A model that has learned something that people can read; it is kept beside the checkpoint."""

    def inspection(self) -> dict[str, Any]:
        """What can be shown, as JSON: `prompts`, see `leaderboard.prompts_view`."""


@runtime_checkable
class AdaptsWeights(Protocol):
    """A part of a model that fits weights to its own size before they are compared with it.

    Position embeddings of another grid, say, or one class token for many classes.
    """

    def adapt_weights(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The state with the shapes of this module; what it cannot fit it leaves as it is."""


def load_weights(model: torch.nn.Module, path: Path, weights: Weights, layout: str | None) -> None:
    """Load initial weights into a model or one of its submodules, strictly.

    Raises:
        InputError: tensors are missing, left over or of another shape.
    """
    state = load_state(path)
    target = submodule(model, weights.target)
    own = {name: tensor.shape for name, tensor in target.state_dict().items()}
    adapt = target.adapt_weights if isinstance(target, AdaptsWeights) else dict
    if layout is not None and set(adapt(state)) != set(
        own
    ):  # `harness weights convert` may have been there before
        conversion = CONVERTERS[layout](state)
        state = conversion.state | {name: torch.empty(0) for name in conversion.unmapped}  # refused below
    state = adapt(state)
    optional = tuple(weights.allow_missing)
    missing = [name for name in own if name not in state and not (optional and name.startswith(optional))]
    wrong = [n for n, tensor in state.items() if n not in own or own[n] != tensor.shape]
    if missing or wrong:
        raise InputError(
            f"the weights '{weights.name}' in {path} do not fit {type(target).__name__}: "
            f"{len(missing)} tensors are missing ({', '.join(missing[:3]) or 'none'}) and {len(wrong)} are "
            f"unknown or of another shape ({', '.join(wrong[:3]) or 'none'}); check the layout in "
            "methods/weights.yaml"
        )
    target.load_state_dict(state, strict=False)


def init_from_stage(model: torch.nn.Module, artifact: Artifact, init: Init) -> None:
    """Copy part of an earlier stage's network into this one, strictly.

    Raises:
        InputError: the parts do not fit.
    """
    target = submodule(model, init.target)
    state = load_state(artifact.files / "model.pth")
    part = {n.removeprefix(init.source): tensor for n, tensor in state.items() if n.startswith(init.source)}
    try:
        target.load_state_dict(part)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(
            f"'{init.source}' of stage '{init.stage}' does not fit '{init.target}' of this model: {first}"
        ) from error


def save_model(model: torch.nn.Module, path: Path) -> None:
    """Write a plain state dict atomically."""
    with atomic_file(path) as file:
        torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, file)


def make_loader(context: StageContext, config: TrainStage, schedule: Schedule, start: int) -> TrainLoader:
    """Loader over the sample stream, starting at the first sample of iteration `start`."""
    labels = config.labels
    made = context.input("labels") if labels not in ("image", "mask") else None
    kind: Labels = "mask" if labels == "mask" else "image"
    if made is not None:
        kind = "soft_masks" if made.manifest.kind == "soft_masks" else "masks"
    stream = TrainStream(
        context.dataset,
        context.ids(),
        TRANSFORMS.build(config.transform),
        split=config.split,
        labels=kind,
        masks=made.files if made else None,
        auxiliary=context.request.auxiliary,
        batch_size=schedule.batch_size,
        seed=context.request.seed,
    )
    workers = config.train_dataloader.num_workers
    if workers is None:  # without a GPU the cores are for the network, and one process keeps up with it
        workers = context.request.workers if context.request.gpus else 1
        workers = max(1, workers // context.request.processes)
    return TrainLoader(
        stream,
        batch_size=schedule.batch_size,
        start=start * schedule.batch_size,
        stop=schedule.iterations * schedule.batch_size,
        workers=workers,
        device=stage_device(context),
        part=(context.rank, context.request.processes),
    )


class _Runner(Runner):
    def _init_model_weights(self) -> None:
        """Nothing: weights are there, and parts that can begin anew, as timm's transformers, would do so."""


def make_runner(
    context: StageContext,
    config: TrainStage,
    schedule: Schedule,
    model: torch.nn.Module,
    loader: TrainLoader,
    resume_from: Path | None,
) -> Runner:
    """mmengine's Runner for one training; its logs and event files go to the artifact's state folder."""
    scheduler = {"by_epoch": False, "begin": 0, **config.param_scheduler}
    if scheduler.get("type") == "PolyLR":
        # mmengine's PolyLR reaches eta_min at step end - 1, the literature's poly rule at max_iters.
        scheduler.setdefault("end", schedule.iterations + 1)
    if scheduler.get("type") == "EpochCosineLR":
        scheduler.setdefault("per_epoch", schedule.per_epoch)
    return _Runner(
        model=model,
        work_dir=str(context.artifact.state),
        train_dataloader=loader,
        train_cfg={
            "type": "IterBasedTrainLoop",
            "max_iters": schedule.iterations,
            "fast_forward_on_resume": True,  # the sampler starts where the resumed run stands
        },
        optim_wrapper=config.optim_wrapper,
        param_scheduler=scheduler,
        default_hooks={
            "checkpoint": None,
            "logger": {"type": "LoggerHook", "interval": config.train_cfg.log_interval},
        },
        log_processor={"by_epoch": False, "window_size": config.train_cfg.log_interval},
        visualizer={
            "type": "Visualizer",
            "vis_backends": vis_backends(context.request, context.artifact) if context.rank == 0 else [],
        },
        env_cfg={"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}},
        # Processes draw different random numbers, since their samples are different ones.
        randomness={"seed": context.request.seed, "diff_rank_seed": True},
        load_from=str(resume_from) if resume_from else None,
        resume=resume_from is not None,
        experiment_name=f"{context.request.stage}_{context.request.key[:8]}",
        default_scope="mmseg",
        launcher="pytorch" if context.request.processes > 1 else "none",
    )


def _keep_logs(context: StageContext) -> None:
    """Move TensorBoard's event files of this training from the resume state to the artifact."""
    remove_links(context.artifact.files)
    target = context.artifact.files / "tensorboard"
    for source in context.artifact.state.rglob("events.out.tfevents.*"):
        target.mkdir(exist_ok=True)
        shutil.move(source, target / source.name)
