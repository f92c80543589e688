"""Synthetic runs by the dozen, with everything that a page of the site shows."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import Dataset
from harness.data.voc import VOC
from harness.hardware import Gpu
from harness.record import RunRecord, StageRecord
from harness.report import Metric
from harness.stages.examples import Prediction, cam_prediction, write_examples
from tests.record_samples import metric, record, stage

GIB = 1 << 30
START = datetime(2021, 3, 4, 12, 0, tzinfo=UTC)


def synthetic_records(
    methods: int = 5, seeds: int = 3, dataset: str = "voc", marked: int = 1
) -> list[RunRecord]:
    """Full runs of methods that do not exist, each with several seeds, and a few marked runs."""
    names = [f"synthetic-{index}" for index in range(methods)]
    full = [synthetic_run(name, seed, dataset) for name in names for seed in range(seeds)]
    return full + [synthetic_run(f"marked-{index}", 0, dataset, limit=8) for index in range(marked)]


def synthetic_run(method: str, seed: int = 0, dataset: str = "voc", **changes: Any) -> RunRecord:
    """A run of four numbers on a GPU that does not exist; its values depend on method and seed alone."""
    draw = random.Random(f"{method} {dataset}")
    quality, scale = draw.uniform(0.35, 0.6), draw.uniform(0.5, 4)
    draw = random.Random(f"{method} {dataset} {seed}")
    quality += draw.gauss(0, 0.004)
    run_id = f"20210304-120000-{method}-{dataset}-{seed:04x}"
    plan = _stages(run_id, dataset, quality, scale)
    changes["dataset"] = {"name": dataset} | changes.pop("dataset", {})
    made = record(
        *plan,
        run_id=run_id,
        method=method,
        title=method.replace("-", " ").title(),
        seed=seed,
        started=START,
        ended=plan[-1].ended,
        config={"title": method, "stages": {"seg": {"type": "train", "model": {"type": "SyntheticNet"}}}},
        **changes,
    )
    made.hardware.gpus = [Gpu(name="Synthetic GPU", memory_bytes=80 * GIB)]
    return made


def _stages(run_id: str, dataset: str, quality: float, scale: float) -> list[StageRecord]:
    seed_best = _metric("seed", quality, dataset, "train", "best of sweep", 0.2)
    seed_fixed = _metric("seed", quality - 0.01, dataset, "train", "fixed", 0.3)
    plan: list[tuple[str, str, float, Sequence[Metric]]] = [
        ("cam", "train", 1800 * scale, ()),
        ("cam_scores", "infer", 600, ()),
        ("seeds", "evaluate", 20, (seed_best, seed_fixed)),
        ("pseudo", "refine", 900 * scale, ()),
        ("pseudo_eval", "evaluate", 10, (_metric("pseudo", quality + 0.12, dataset, "train"),)),
        ("seg", "train", 5400 * scale, ()),
        ("seg_eval", "evaluate", 60, (_metric("seg", quality + 0.14, dataset, "val"),)),
        ("seg_crf_eval", "evaluate", 70, (_metric("seg_crf", quality + 0.15, dataset, "val"),)),
    ]
    stages, at = [], START
    for name, kind, seconds, metrics in plan:
        key = f"{run_id}-{name}"
        ended = at + timedelta(seconds=seconds)
        made = stage(
            name,
            *metrics,
            seconds=seconds,
            type=kind,
            key=key,
            memory=4 * GIB,
            started=at,
            ended=ended,
            joules=300 * seconds if kind in ("train", "infer") else None,
        )
        _measure(made)
        stages.append(made)
        at = ended
    return stages


def _measure(made: StageRecord) -> None:
    assert made.report is not None
    if made.type in ("train", "infer"):
        made.report.images, made.report.images_per_second = 1000, 43.2
        made.report.measurements.gpu_memory_peak_bytes = 12 * GIB
        made.report.measurements.gpu_utilisation_percent = 91.5
    if made.type == "train":
        iterations = [20.0 * step for step in range(1, 21)]
        loss = [1 / math.sqrt(step) for step in iterations]
        made.report.losses = {"iteration": iterations, "loss": loss, "accuracy": [1 - x for x in loss]}
        made.report.validation = {
            "iteration": [200.0, 400.0],
            "cam": [0.3, 0.4],
            "cam_threshold": [0.2, 0.25],
        }
    if made.name == "seeds":
        grid = [round(0.01 * step, 2) for step in range(1, 61)]
        best = made.report.metrics[0].value
        made.report.curve = {
            "threshold": grid,
            "mIoU": [best - (at - 0.2) ** 2 for at in grid],
            "fp_rate": [0.6 - at for at in grid],
            "fn_rate": [0.1 + at for at in grid],
        }


def _metric(
    number: str, value: float, dataset: str, split: str, chosen: str = "none", at: Any = None
) -> Metric:
    made = metric(number, value, chosen, at)
    draw = random.Random(f"{number} {value}")
    made.per_class = {name: min(1.0, max(0.0, value + draw.gauss(0, 0.15))) for name in VOC.classes}
    made.precision = {name: min(1.0, iou + 0.1) for name, iou in made.per_class.items() if iou is not None}
    made.recall = {name: min(1.0, iou + 0.15) for name, iou in made.per_class.items() if iou is not None}
    made.interval = (value - 0.008, value + 0.008)
    made.pixel_accuracy, made.mean_accuracy, made.boundary_iou = value + 0.25, value + 0.1, value - 0.2
    made.excluded = []
    made.protocol.dataset, made.protocol.split = dataset, split
    made.protocol.images = 1464 if split == "train" else 1449
    return made


def give_examples(run: RunRecord, work: Path, dataset: Dataset, splits: Mapping[str, str]) -> None:
    """Write the examples of a run's evaluations into its artifacts: noisy copies of the ground truth.

    Args:
        work: work folder that the artifacts are relative to.
        dataset: where images and ground truth come from.
        splits: split of `dataset` by the name of the stage.
    """
    for name, split in splits.items():
        found = next(stage for stage in run.stages if stage.name == name)
        files = work / found.artifact / "files"
        files.mkdir(parents=True)
        threshold = 0.2 if name == "seeds" else None

        def predict(image_id: str, split: str = split, threshold: float | None = threshold) -> Prediction:
            truth = dataset.read_mask(image_id, split)
            shifted = np.roll(truth, 4, axis=1)
            if threshold is None:
                return Prediction(shifted)
            cam = (shifted > 0).astype(np.float32)[None]
            return cam_prediction(np.array([max(int(truth[truth < 255].max()) - 1, 0)]), cam, threshold)

        write_examples(files, dataset, split, dataset.ids(split), predict, threshold)
