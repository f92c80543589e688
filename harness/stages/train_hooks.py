"""What the harness adds to mmengine's training loop: progress, points of resumption, recorded losses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from harness.artifact import Artifact
from harness.files import atomic_file
from harness.monitor import Throughput
from harness.progress import ProgressWriter
from harness.schema import TrainConfig
from harness.stages.team import gathered


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint from which training can go on: iterations done and file."""

    iteration: int
    path: Path


def latest_resume_point(state: Path) -> ResumePoint | None:
    """The newest checkpoint in a state folder (each was renamed into place, so each is whole)."""
    found = [
        ResumePoint(int(match.group(1)), path)
        for path in state.glob("iter_*.pth")
        if (match := re.fullmatch(r"iter_(\d+)\.pth", path.name))
    ]
    return max(found, key=lambda point: point.iteration, default=None)


class StageProgress(Hook):
    """Counts iterations and images, and stops a training whose loss is not finite."""

    def __init__(self, progress: ProgressWriter, throughput: Throughput, batch_size: int) -> None:
        self._progress = progress
        self._throughput = throughput
        self._batch_size = batch_size

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Record one iteration.

        Raises:
            FloatingPointError: the loss is NaN or infinite; the last point of resumption stays.
        """
        loss = _mean_over_processes(_scalar((outputs or {}).get("loss", 0.0)))
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at iteration {runner.iter + 1}")
        self._throughput.add(self._batch_size)
        self._progress.update(runner.iter + 1, f"loss {loss:.3f}")


class ResumePoints(Hook):
    """Writes what a killed training resumes from, and the checkpoints of chosen epochs.

    The random state travels with the checkpoint, so that models that draw random numbers (VWL-M's first
    codebook) continue as an undisturbed run would.
    """

    def __init__(self, artifact: Artifact, config: TrainConfig, iterations_per_epoch: int) -> None:
        self._artifact = artifact
        self._interval = config.checkpoint_interval
        self._keep = {epoch * iterations_per_epoch: epoch for epoch in config.keep_epochs}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Save when an interval or an epoch to keep is full."""
        done = runner.iter + 1
        if done in self._keep and runner.rank == 0:
            with atomic_file(self._artifact.files / f"epoch_{self._keep[done]}.pth") as file:
                torch.save({n: t.cpu() for n, t in bare_model(runner).state_dict().items()}, file)
        if done % self._interval == 0 and done < runner.max_iters:
            self._save(runner, done)

    def _save(self, runner: Runner, done: int) -> None:
        state = self._artifact.state
        partial = f"partial_{done}.tmp"
        self._random_states = gathered(_random_state())
        if runner.rank != 0:
            return
        runner.save_checkpoint(str(state), partial, by_epoch=False)
        (state / partial).replace(state / f"iter_{done}.pth")
        for path in state.glob("iter_*.pth"):
            if path.name != f"iter_{done}.pth":
                path.unlink()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the random state of each process."""
        checkpoint["random_states"] = self._random_states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the random state of this process."""
        random_state = checkpoint["random_states"][runner.rank]
        torch.set_rng_state(random_state["torch"].cpu())
        if random_state["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(random_state["cuda"].cpu())


class LossHistory(Hook):
    """Mean of every logged value over each log interval, and over the processes that train together."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._window: dict[str, list[float]] = {}
        self.curves: dict[str, list[float]] = {"iteration": []}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Collect one iteration's values."""
        for name, value in (outputs or {}).items():
            self._window.setdefault(name, []).append(_scalar(value))
        done = runner.iter + 1
        if done % self._interval == 0 or done == runner.max_iters:
            self.curves["iteration"].append(float(done))
            windows = gathered(self._window)
            for name in self._window:
                means = [float(np.mean(window[name])) for window in windows if name in window]
                self.curves.setdefault(name, []).append(float(np.mean(means)))
            self._window = {}


def bare_model(runner: Runner) -> torch.nn.Module:
    """The model without what lets processes train it together."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _random_state() -> dict[str, torch.Tensor | None]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def _mean_over_processes(value: float) -> float:
    """The mean; no number if one of them is none, so that all processes stop at the same iteration."""
    if get_world_size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    all_reduce(total, "mean")
    return float(total)


def _scalar(value: Any) -> float:
    return float(value.detach()) if isinstance(value, torch.Tensor) else float(value)
