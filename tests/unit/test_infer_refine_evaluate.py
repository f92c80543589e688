"""The stages over images: resumed work is kept, missing work is named, numbers are those of the metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.artifact import Artifact
from harness.data import Dataset, open_dataset
from harness.data.palette import read_mask, write_mask
from harness.errors import InputError
from harness.evaluation import thresholds
from harness.metrics.confusion import confusion_matrix, segmentation_metrics
from harness.ops.resize import upsample_logits
from harness.prediction_source import winning_class
from harness.report import Report
from harness.schema import Sweep
from harness.stages import infer, refine
from harness.stages.per_image import load_scores, save_scores
from tests.tiny_stages import CAMS, LIMIT, LOGITS, TRAIN, run

REFINE: dict[str, Any] = {
    "type": "refine",
    "split": "train",
    "scores": "cam_scores",
    "refiner": {"type": "CAMDenseCRF", "background": 0.3, "crf": {"iterations": 1}},
}
SWEEP = {"start": 0.1, "stop": 0.6, "step": 0.1}


@pytest.fixture
def dataset(shapes_root: Path) -> Dataset:
    return open_dataset("shapes", shapes_root)


@pytest.fixture
def ids(dataset: Dataset) -> Sequence[str]:
    return dataset.ids("train")[:LIMIT]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    """A folder with a CAM network, a segmentation network and the scores of both."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder / "cam", shapes_root, TRAIN)
    segmentation = {**TRAIN, "model": {"type": "TinyNet", "num_classes": 11}, "labels": "mask"}
    run(folder / "seg", shapes_root, segmentation)
    run(folder / "cam_scores", shapes_root, CAMS, inputs={"checkpoint": folder / "cam"})
    run(folder / "seg_scores", shapes_root, LOGITS, inputs={"checkpoint": folder / "seg"})
    return folder


def evaluate(folder: Path, root: Path, source: Path, **config: Any) -> Report:
    role = "masks" if (Artifact(source).manifest.kind) == "masks" else "scores"
    stage = {"type": "evaluate", "split": "train", "number": "seed", role: source.name, **config}
    return run(folder, root, stage, inputs={role: source})


def finished(folder: Path, kind: Any, files: dict[str, Any], **meta: Any) -> Path:
    """An artifact made by hand."""
    artifact = Artifact(folder).open()
    for name, write in files.items():
        write(artifact.files / name)
    artifact.finish(kind, folder.name, "0", meta)
    return folder


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "files").iterdir()}


def die_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, images: int) -> None:
    """Let a stage end, as if it was killed, when this many images are done."""
    original, done = getattr(module, name), []

    def dying(*arguments: Any) -> Any:
        if len(done) == images:
            raise KeyboardInterrupt
        done.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(module, name, dying)


def test_a_killed_infer_resumes_without_recomputing(
    tmp_path: Path, shapes_root: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cam_scores"
    die_after(monkeypatch, infer, "save_scores", 4)
    with pytest.raises(KeyboardInterrupt):
        run(folder, shapes_root, CAMS, inputs={"checkpoint": trained / "cam"})
    monkeypatch.undo()
    before = stamps(folder)
    report = run(folder, shapes_root, CAMS, inputs={"checkpoint": trained / "cam"})
    after = stamps(folder)
    assert len(before) == 4
    assert {name: after[name] for name in before} == before
    assert (report.resumed_at, report.images, len(after)) == (4, LIMIT - 4, LIMIT)
    whole = Artifact(trained / "cam_scores").manifest.files
    assert Artifact(folder).manifest.files == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_refine_resumes_without_recomputing(
    tmp_path: Path, shapes_root: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    folder, inputs = tmp_path / "pseudo", {"scores": trained / "cam_scores"}
    die_after(monkeypatch, refine, "write_mask", 2)
    with pytest.raises(KeyboardInterrupt):
        run(folder, shapes_root, REFINE, inputs=inputs)
    monkeypatch.undo()
    before = stamps(folder)
    report = run(folder, shapes_root, REFINE, inputs=inputs, workers=workers)
    assert len(before) == 2
    assert {name: stamps(folder)[name] for name in before} == before
    assert (report.resumed_at, report.images) == (2, LIMIT - 2)
    run(tmp_path / "whole", shapes_root, REFINE, inputs=inputs)
    assert Artifact(folder).manifest.files == Artifact(tmp_path / "whole").manifest.files


def test_scores_have_the_shapes_of_the_contract(trained: Path, dataset: Dataset, ids: Sequence[str]) -> None:
    for image_id in ids:
        height, width = dataset.image_size(image_id)
        cam = load_scores(trained / "cam_scores" / "files" / f"{image_id}.npz")
        assert cam["keys"].tolist() == np.flatnonzero(dataset.image_labels(image_id)).tolist()
        assert cam["high_res"].shape == (len(cam["keys"]), height, width)
        assert cam["cam"].shape == (len(cam["keys"]), -(-height // 4), -(-width // 4))
        logits = load_scores(trained / "seg_scores" / "files" / f"{image_id}.npz")
        assert logits["logits"].shape[0] == 11
        assert logits["size"].tolist() == [height, width]


def test_an_epoch_that_was_not_kept_is_one_sentence(tmp_path: Path, shapes_root: Path, trained: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint of epoch 7 in .*: add it to train_cfg\.keep_epochs"):
        run(tmp_path / "scores", shapes_root, {**CAMS, "epoch": 7}, inputs={"checkpoint": trained / "cam"})


def test_an_input_that_is_not_there_is_one_sentence(tmp_path: Path, shapes_root: Path) -> None:
    with pytest.raises(InputError, match="the checkpoint of stage 'scores' is not there"):
        run(tmp_path / "scores", shapes_root, CAMS, inputs={"checkpoint": tmp_path / "nowhere"})


@pytest.mark.parametrize(
    "config",
    [
        REFINE,
        {
            "type": "evaluate",
            "split": "train",
            "scores": "cam_scores",
            "number": "seed",
            "sweep": SWEEP,
            "threshold": 0.3,
        },
    ],
    ids=["refine", "evaluate"],
)
def test_scores_that_do_not_cover_the_split_are_one_sentence(
    tmp_path: Path, shapes_root: Path, trained: Path, ids: Sequence[str], config: dict[str, Any]
) -> None:
    scores = load_scores(trained / "cam_scores" / "files" / f"{ids[0]}.npz")
    partial = finished(
        tmp_path / "cam_scores", "scores", {f"{ids[0]}.npz": lambda p: save_scores(p, scores)}, scores="cam"
    )
    with pytest.raises(InputError, match=rf"{LIMIT - 1} images without .* \(the first is {ids[1]}"):
        run(tmp_path / "next", shapes_root, config, inputs={"scores": partial})


def test_the_evaluation_of_masks_is_that_of_the_metrics(
    tmp_path: Path, shapes_root: Path, trained: Path, dataset: Dataset, ids: Sequence[str]
) -> None:
    run(tmp_path / "pseudo", shapes_root, REFINE, inputs={"scores": trained / "cam_scores"})
    (metric,) = evaluate(tmp_path / "numbers", shapes_root, tmp_path / "pseudo").metrics
    total = sum(
        confusion_matrix(
            dataset.read_mask(i, "train"), read_mask(tmp_path / "pseudo" / "files" / f"{i}.png"), 11
        )
        for i in ids
    )
    expected = segmentation_metrics(total)
    assert metric.value == expected.mean_iou
    assert list(metric.per_class) == list(dataset.classes)
    assert metric.excluded == [dataset.classes[i] for i in expected.absent]
    assert all(metric.per_class[name] is None for name in metric.excluded)
    assert (metric.protocol.threshold, metric.threshold, metric.protocol.images) == ("none", None, LIMIT)
    assert metric.protocol.details == {"refiner": REFINE["refiner"]}


def test_the_evaluation_of_logits_is_that_of_the_metrics(
    tmp_path: Path, shapes_root: Path, trained: Path, dataset: Dataset, ids: Sequence[str]
) -> None:
    (metric,) = evaluate(tmp_path / "numbers", shapes_root, trained / "seg_scores", number="seg").metrics
    total = np.zeros((11, 11), np.int64)
    for image_id in ids:
        scores = load_scores(trained / "seg_scores" / "files" / f"{image_id}.npz")
        prediction = upsample_logits(scores["logits"], tuple(scores["size"].tolist())).argmax(0)
        total += confusion_matrix(dataset.read_mask(image_id, "train"), prediction, 11)
    assert metric.value == segmentation_metrics(total).mean_iou
    assert metric.protocol.details["inference"]["type"] == "SegmentationLogits"


def test_the_evaluation_of_cams_is_one_evaluation_per_threshold(
    tmp_path: Path, shapes_root: Path, trained: Path, dataset: Dataset, ids: Sequence[str]
) -> None:
    report = evaluate(tmp_path / "seeds", shapes_root, trained / "cam_scores", sweep=SWEEP, threshold=0.25)
    best, fixed = report.metrics
    assert report.curve is not None

    def at(threshold: float) -> float:
        total = np.zeros((11, 11), np.int64)
        for image_id in ids:
            scores = load_scores(trained / "cam_scores" / "files" / f"{image_id}.npz")
            maps = np.pad(scores["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
            labels = np.concatenate([[0], scores["keys"] + 1])[maps.argmax(0)]
            total += confusion_matrix(dataset.read_mask(image_id, "train"), labels, 11)
        return segmentation_metrics(total).mean_iou

    assert report.curve["threshold"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert report.curve["mIoU"] == [at(threshold) for threshold in report.curve["threshold"]]
    assert (best.protocol.threshold, best.value) == ("best of sweep", max(report.curve["mIoU"]))
    assert (fixed.protocol.threshold, fixed.threshold, fixed.value) == ("fixed", 0.25, at(0.25))
    document = json.loads((tmp_path / "seeds" / "files" / "metrics.json").read_text())
    assert [found["value"] for found in document["metrics"]] == [best.value, fixed.value]


def test_the_number_of_processes_does_not_change_the_numbers(
    tmp_path: Path, shapes_root: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.evaluation._CHUNK", 2)
    stage = {"type": "evaluate", "split": "train", "number": "seed", "scores": "cam_scores"}
    stage |= {"sweep": SWEEP, "threshold": 0.3}
    values = [
        run(
            tmp_path / f"{n}", shapes_root, stage, inputs={"scores": trained / "cam_scores"}, workers=n
        ).metrics
        for n in (1, 3)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("source", "config", "message"),
    [
        ("cam_scores", {}, "give the evaluate stage a sweep and a fixed threshold"),
        ("cam_scores", {"sweep": SWEEP}, "give the evaluate stage a sweep and a fixed threshold"),
        ("seg_scores", {"threshold": 0.3}, r"makes logits, .*: remove sweep and threshold from stages\.bad"),
    ],
)
def test_thresholds_that_do_not_fit_the_scores_are_one_sentence(
    tmp_path: Path, shapes_root: Path, trained: Path, source: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path / "bad", shapes_root, trained / source, **config)


def test_a_prediction_of_another_size_names_its_image(
    tmp_path: Path, shapes_root: Path, dataset: Dataset, ids: Sequence[str]
) -> None:
    masks = {f"{i}.png": (lambda p: write_mask(p, np.zeros((4, 4), np.uint8), dataset.palette)) for i in ids}
    source = finished(tmp_path / "pseudo", "masks", masks)
    with pytest.raises(InputError, match=f"the prediction of image {ids[0]} does not fit its ground truth"):
        evaluate(tmp_path / "numbers", shapes_root, source)


def test_a_sweep_has_both_ends_and_no_accumulated_rounding() -> None:
    grid = thresholds(Sweep(start=0.01, stop=0.6, step=0.01))
    assert (len(grid), grid[0], grid[-1], grid[28]) == (60, 0.01, 0.6, 0.29)
    assert thresholds(Sweep(start=0.3, stop=0.3, step=0.1)) == [0.3]
    assert thresholds(None) == []


def test_logits_are_enlarged_a_few_classes_at_a_time() -> None:
    """Memory does not grow with the classes, and the lowest class wins a tie, as arg-max does."""
    logits = np.random.default_rng(0).random((81, 9, 7), dtype=np.float32)
    logits[[20, 40]] = logits.max() + 1
    logits[:, :4] = logits[:, :4].round(1)
    size = (33, 26)
    np.testing.assert_array_equal(winning_class(logits, size), upsample_logits(logits, size).argmax(0))


def test_pickled_scores_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", keys=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        load_scores(tmp_path / "bad.npz")


def test_an_image_without_classes_needs_no_network() -> None:
    from harness.inference import MultiScaleCAM

    inference = MultiScaleCAM(scales=(1.0, 0.5))
    prepared = inference.prepare(np.zeros((30, 41, 3), np.uint8), np.zeros(10, np.float32))
    scores = inference.infer(torch.nn.Identity(), prepared, torch.device("cpu"))
    assert scores["keys"].shape == (0,)
    assert scores["cam"].shape == (0, 8, 11)
    assert scores["high_res"].shape == (0, 30, 41)
