"""Scoring of a network while it trains, and the choice of the best checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from harness.errors import InputError
from harness.evaluation import thresholds
from harness.files import atomic_file, canonical_json, write_json
from harness.inference import Inference, Scores
from harness.metrics.confusion import confusion_matrix, mean_over_classes
from harness.metrics.split_counts import BatchCounts, ImageCounts, SplitCounts
from harness.metrics.sweep import Thresholds, best_threshold, count_levels, level_map
from harness.prediction_source import winning_class
from harness.registry import INFERENCES
from harness.schema import Validation, ValidationOutput
from harness.stage import StageContext
from harness.stages.infer import PREFETCH, THREADS, prefetched
from harness.stages.team import gathered, synchronise_buffers
from harness.stages.train_hooks import ResumePoint, bare_model, latest_resume_point

Row = dict[str, float | None]


class OutputScore:
    """mIoU of one output over the images that it is given.

    Args:
        output: where its threshold is from.
        images: how many there will be.
        num_classes: background included.
    """

    def __init__(self, output: ValidationOutput, images: int, num_classes: int) -> None:
        values = thresholds(output.sweep) if output.sweep else [output.threshold]
        self._values = [value for value in values if value is not None]
        self._thresholds = Thresholds(self._values) if self._values else None
        self._num_classes = num_classes
        self._stop_at_drop = output.sweep is not None and output.sweep.stop_at_drop
        self._counts = SplitCounts(images, num_classes, max(len(self._values), 1), groups=1)

    def add(self, name: str, kind: str, scores: Scores, truth: Any) -> None:
        """Count one image.

        Args:
            name: of the output, for messages.
            kind: `cam` or `logits`.
            scores: as the inference makes them.
            truth: (H, W) labels; 255 is not counted.

        Raises:
            InputError: CAMs without a threshold, or logits with one.
        """
        if (kind == "cam") != (self._thresholds is not None):
            need = "a threshold or a sweep" if kind == "cam" else "no threshold, since background is a class"
            raise InputError(f"validation.outputs.{name} is made of {kind} scores, which need {need}")
        if self._thresholds is None:
            height, width = (int(side) for side in scores["size"])
            labels = winning_class(scores["logits"], (height, width))
            counts = ImageCounts.of(confusion_matrix(truth, labels, self._num_classes))
        else:
            found = level_map(scores["keys"], scores["high_res"], self._thresholds, self._num_classes)
            counts = count_levels(found, truth, self._num_classes)
        self._counts.add(BatchCounts.of([0], [counts]))

    @classmethod
    def together(cls, parts: Sequence[OutputScore]) -> OutputScore:
        """The score over the images of all parts, which are changed."""
        for part in parts[1:]:
            parts[0]._counts.merge(part._counts)
        return parts[0]

    def result(self) -> tuple[float | None, float | None]:
        """The best mIoU, None where nothing was counted, and its threshold, None where there is none."""
        means = mean_over_classes(self._counts.total().iou)
        best = best_threshold(means, self._stop_at_drop)
        value = None if math.isnan(means[best]) else float(means[best])
        return value, self._values[best] if self._values else None


class ValidationHook(Hook):
    """Scores a network at an interval and at the end; keeps the state that is best by one output.

    Processes that train together score a part of the images each, with the leader's buffers.

    What it found so far is in the artifact's state folder, so that a resumed training goes on from there. It
    leaves torch's random state as it was.

    Args:
        context: of the train stage.
        config: what is scored and when.
        per_epoch: iterations of an epoch.
        start: iterations that are done; what was found behind them will be found again.
    """

    def __init__(self, context: StageContext, config: Validation, per_epoch: int, start: int) -> None:
        self._context = context
        self._config = config
        self._interval = config.interval or (config.epochs or 1) * per_epoch
        ids = context.request.dataset.ids[config.split]
        self._ids = _spread(ids, config.images)
        self._passes = _passes(config)
        self._rows = [row for row in self._read() if (row["iteration"] or 0) <= start]
        for point in self._saved() if context.rank == 0 else ():
            if point.iteration > start:
                point.path.unlink()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Validate when the interval is full, and after the last iteration."""
        done = runner.iter + 1
        if done % self._interval != 0 and done != runner.max_iters:
            return
        model = bare_model(runner)
        synchronise_buffers(model)
        mode, devices = model.training, [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            model.eval()
            found = self._score(model, done)
            model.train(mode)
        row: Row = {"iteration": float(done)}
        for name, (value, threshold) in found.items():
            row |= {name: value} if threshold is None else {name: value, f"{name}_threshold": threshold}
        self._keep(runner, row)
        values = {f"val/{name}_mIoU": value for name, (value, _) in found.items() if value is not None}
        runner.visualizer.add_scalars(values, step=done)

    def curves(self) -> dict[str, list[float | None]]:
        """Everything that was found, by column over the validations."""
        names = dict.fromkeys(name for row in self._rows for name in row)
        return {name: [row.get(name) for row in self._rows] for name in names}

    def best_checkpoint(self) -> ResumePoint | None:
        """The state to keep; None where the last one is wanted, or no output could be scored."""
        return max(self._saved(), key=lambda point: point.iteration, default=None)

    def _score(self, model: torch.nn.Module, done: int) -> dict[str, tuple[float | None, float | None]]:
        context, dataset = self._context, self._context.dataset
        own = self._ids[context.rank :: context.request.processes]
        outputs, total = self._config.outputs, len(own) * len(self._passes)
        scores = {
            name: OutputScore(output, len(self._ids), len(dataset.classes))
            for name, output in outputs.items()
        }
        device, seen = next(model.parameters()).device, 0
        threads = max(1, min(context.request.workers // context.request.processes, THREADS))
        with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
            for inference, names in self._passes:
                images = prefetched(pool, context, inference, own, PREFETCH * threads)
                for image_id, prepared in images:
                    maps = _maps(inference, model, prepared, device, [outputs[name].map for name in names])
                    truth = dataset.read_mask(image_id, self._config.split)
                    for name, found in zip(names, maps, strict=True):
                        scores[name].add(name, inference.kind, found, truth)
                    seen += 1
                    context.progress.update(done, f"validating {seen}/{total}")
        parts = gathered(scores)
        return {name: OutputScore.together([part[name] for part in parts]).result() for name in scores}

    def _keep(self, runner: Runner, row: Row) -> None:
        """Save the state if it is the best so far, then the row: a kill between the two costs nothing."""
        best = self._config.best
        if best is not None and (value := row[best]) is not None:
            before = [old for other in self._rows if (old := other.get(best)) is not None]
            if runner.rank == 0 and value > max(before, default=-math.inf):
                iteration = int(row["iteration"] or 0)
                with atomic_file(self._state / f"best_{iteration}.pth") as file:
                    torch.save({n: t.cpu() for n, t in bare_model(runner).state_dict().items()}, file)
        self._rows.append(row)
        if runner.rank == 0:
            write_json(self._state / "validation.json", self._rows)
            self._prune()

    def _prune(self) -> None:
        """Remove states that no resumed training can need: all but the best at the point of resumption."""
        point = latest_resume_point(self._state)
        settled = [saved for saved in self._saved() if point and saved.iteration <= point.iteration]
        for saved in sorted(settled, key=lambda saved: saved.iteration)[:-1]:
            saved.path.unlink()

    def _read(self) -> list[Row]:
        path = self._state / "validation.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def _saved(self) -> list[ResumePoint]:
        found = self._state.glob("best_*.pth")
        return [ResumePoint(int(path.stem.removeprefix("best_")), path) for path in found]

    @property
    def _state(self) -> Path:
        return self._context.artifact.state


def _spread(ids: Sequence[str], count: int | None) -> list[str]:
    """`count` of the ids at equal distances; all of them for None."""
    taken = len(ids) if count is None else min(count, len(ids))
    return [ids[place * len(ids) // taken] for place in range(taken)]


def _passes(config: Validation) -> list[tuple[Inference, list[str]]]:
    """Inferences, and the outputs that each of them feeds in one pass over the images."""
    groups: dict[str, list[str]] = {}
    for name, output in config.outputs.items():
        shared = f"{output.map is not None} {canonical_json(output.inference)}"
        groups.setdefault(shared if output.map else f"{name} {shared}", []).append(name)
    return [(INFERENCES.build(config.outputs[names[0]].inference), names) for names in groups.values()]


def _maps(
    inference: Inference,
    model: torch.nn.Module,
    prepared: Any,
    device: torch.device,
    wanted: Sequence[str | None],
) -> list[Scores]:
    """The scores of one image for each output.

    Raises:
        InputError: the inference makes no maps of these names.
    """
    if wanted[0] is None:
        return [inference.infer(model, prepared, device)]
    several = getattr(inference, "maps", None)
    found: Mapping[str, Scores] = several(model, prepared, device) if several else {}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(
            f"validation asks {type(inference).__name__} for the map '{missing[0]}', but it makes "
            f"{', '.join(found) or 'one kind of scores only'}: mend `map` in validation.outputs"
        )
    return [found[name] for name in wanted if name is not None]
