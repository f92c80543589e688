"""`harness evaluate`: any folder of predictions against any folder of ground truth, and every wrong input."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.artifact import Artifact
from harness.cli import app
from harness.data import open_dataset
from harness.data.palette import voc_palette, write_mask
from harness.errors import InputError
from harness.metrics.confusion import confusion_matrix, segmentation_metrics
from harness.stages.per_image import save_scores
from tests.command import Command
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 4
IDS = [f"image {number}" for number in range(5)]
Evaluate = Callable[..., dict[str, Any]]


def label_map(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1 + seed % 2, 3, 255], np.uint8)[rng.integers(4, size=(5, 6))]
    return labels.repeat(7, axis=0).repeat(8, axis=1)


def cams_of(seed: int, truth: np.ndarray) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(100 + seed)
    keys = [int(label) - 1 for label in np.unique(truth) if 0 < label < 255]
    return {
        key: (0.5 * (truth == key + 1) + 0.5 * rng.random(truth.shape)).astype(np.float32) for key in keys
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`truth`, `masks` (half right), `cams` as authors write them and `artifact` as a stage writes them."""
    for name in ("truth", "masks", "cams"):
        (tmp_path / name).mkdir()
    artifact = Artifact(tmp_path / "artifact").open()
    for seed, image_id in enumerate(IDS):
        truth = label_map(seed)
        cams = cams_of(seed, truth)
        half = np.where(np.arange(truth.shape[1]) < 24, truth, np.uint8(0))
        write_mask(tmp_path / "truth" / f"{image_id}.png", truth, voc_palette())
        write_mask(tmp_path / "masks" / f"{image_id}.png", half, voc_palette())
        np.save(tmp_path / "cams" / f"{image_id}.npy", cams, allow_pickle=True)
        maps = np.stack(list(cams.values()))
        arrays = {"keys": np.array(list(cams)), "cam": maps[:, ::4, ::4], "high_res": maps}
        save_scores(artifact.files / f"{image_id}.npz", arrays)
    artifact.finish("scores", "cams", "0", {"scores": "cam"})
    return tmp_path


@pytest.fixture
def evaluate(folder: Path) -> Evaluate:
    """Runs `harness evaluate` on the folder's ground truth and returns what `--json` wrote."""

    def evaluate(*arguments: str | Path) -> dict[str, Any]:
        output = folder / "out.json"
        truth = ("--ground-truth", folder / "truth", "--classes", CLASSES)
        given = map(str, ("evaluate", *truth, "--workers", 1, "--json", output, *arguments))
        result = CliRunner().invoke(app, list(given), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(output.read_text(encoding="utf-8")) | {"printed": result.output}

    return evaluate


def test_masks_have_the_numbers_of_the_metrics(evaluate: Evaluate, folder: Path) -> None:
    found = evaluate("--masks", folder / "masks")
    (metric,) = found["metrics"]
    total = sum(
        confusion_matrix(truth, np.where(np.arange(48) < 24, truth, 0), CLASSES + 1)
        for truth in map(label_map, range(len(IDS)))
    )
    expected = segmentation_metrics(total)
    assert metric["value"] == expected.mean_iou
    assert list(metric["per_class"].values()) == [None if np.isnan(iou) else iou for iou in expected.iou]
    assert metric["excluded"] == ["class 4"]
    low, high = metric["interval"]
    assert low <= metric["value"] <= high
    assert 0 < metric["boundary_iou"] < 1
    assert metric["protocol"]["images"] == len(IDS)
    assert metric["protocol"]["threshold"] == "none"
    assert f"{100 * expected.mean_iou:.2f}" in found["printed"]


def test_cams_of_authors_and_of_stages_have_the_same_numbers(evaluate: Evaluate, folder: Path) -> None:
    options = ("--sweep", "0.1:0.9:0.1", "--threshold", "0.45", "--boundary")
    theirs = evaluate("--scores", folder / "cams", *options)
    ours = evaluate("--scores", folder / "artifact", "--workers", "2", *options)
    for found in (*theirs["metrics"], *ours["metrics"]):
        del found["protocol"]["details"]["predictions"]
    assert theirs["metrics"] == ours["metrics"]
    assert theirs["curve"] == ours["curve"]
    best, fixed = theirs["metrics"]
    assert 0 < fixed["boundary_iou"] < best["boundary_iou"] == 1
    curve = theirs["curve"]
    assert curve["threshold"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert best["value"] == max(curve["mIoU"]) == curve["mIoU"][curve["threshold"].index(best["threshold"])]
    assert fixed["threshold"] == 0.45
    at_best = curve["threshold"].index(best["threshold"])
    assert curve["fp_rate"][at_best] == best["false_rates"]["foreground_fp"]
    assert curve["fn_rate"][at_best] == best["false_rates"]["foreground_fn"]
    for name in ("precision", "recall"):
        foreground = [value for value in list(best[name].values())[1:] if value is not None]
        assert curve[name][at_best] == pytest.approx(np.mean(foreground))


def test_a_threshold_that_nothing_passes_leaves_the_precision_undefined(
    evaluate: Evaluate, folder: Path
) -> None:
    curve = evaluate("--scores", folder / "cams", "--sweep", "0.5:1.5:0.5")["curve"]
    assert curve["precision"][-1] is None
    assert curve["recall"][-1] == 0


def test_predictions_with_a_background_of_their_own_need_no_threshold(
    evaluate: Evaluate, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "maps").mkdir()
    for seed, image_id in enumerate(IDS):
        labels = np.where(label_map(seed) == 255, 0, label_map(seed))
        np.save(tmp_path / "maps" / f"{image_id}.npy", np.eye(CLASSES + 1, dtype=np.float32)[:, labels])
    found = evaluate("--scores", tmp_path / "maps", "--layout", "scores")
    assert (found["metrics"][0]["value"], found["curve"]) == (1.0, None)


def test_a_split_of_a_dataset_is_the_ground_truth(shapes_root: Path, tmp_path: Path) -> None:
    dataset = open_dataset("shapes", shapes_root)
    masks = tmp_path / "masks"
    masks.mkdir()
    for image_id in dataset.ids("val"):
        write_mask(masks / f"{image_id}.png", dataset.read_mask(image_id, "val"), dataset.palette)
    output = tmp_path / "out.json"
    given = ("--masks", masks, "--dataset", "shapes", "--data-root", shapes_root, "--split", "val")
    result = CliRunner().invoke(app, ["evaluate", *map(str, given), "--json", str(output), "--no-boundary"])
    assert result.exit_code == 0, result.output
    (metric,) = json.loads(output.read_text(encoding="utf-8"))["metrics"]
    assert (metric["value"], metric["boundary_iou"]) == (1.0, None)
    assert (metric["protocol"]["dataset"], metric["protocol"]["split"]) == ("shapes", "val")
    assert list(metric["per_class"]) == list(dataset.classes)


def test_a_list_takes_part_of_the_images(evaluate: Evaluate, folder: Path) -> None:
    (folder / "masks" / f"{IDS[0]}.png").unlink()
    listed = folder / "two.txt"
    for place, image_id in zip("ab", IDS[1:]):  # ids without spaces, as lists have them
        for kind in ("truth", "masks"):
            (folder / kind / f"{image_id}.png").rename(folder / kind / f"{place}.png")
    listed.write_text("a\nb\n", encoding="utf-8")
    (metric,) = evaluate("--masks", folder / "masks", "--list", listed)["metrics"]
    assert (metric["protocol"]["images"], metric["protocol"]["split"]) == (2, "two.txt")


def test_one_image_gives_no_interval(evaluate: Evaluate, folder: Path) -> None:
    for image_id in IDS[1:]:
        (folder / "truth" / f"{image_id}.png").unlink()
    assert evaluate("--masks", folder / "masks")["metrics"][0]["interval"] is None


def test_csv_has_a_line_per_threshold_and_class(evaluate: Evaluate, folder: Path) -> None:
    table = folder / "out.csv"
    found = evaluate("--scores", folder / "cams", "--threshold", "0.5", "--csv", table)
    assert found["metrics"][0]["boundary_iou"] is None
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + CLASSES + 1)
    best = found["metrics"][0]
    assert (rows[0]["class"], float(rows[0]["iou"])) == ("mean", best["value"])
    assert [float(rows[0][name]) for name in ("iou_low", "iou_high")] == best["interval"]
    per_class = {row["class"]: row["iou"] for row in rows[1 : CLASSES + 2]}
    assert per_class["class 4"] == ""
    assert float(per_class["class 3"]) == best["per_class"]["class 3"]
    assert {row["chosen"] for row in rows} == {"best of sweep", "fixed"}


def test_workers_do_not_wait_for_threads_that_they_have_not_got(folder: Path) -> None:
    """OpenCV's threads do not survive a fork; a process that has used them must be able to evaluate."""
    script = (
        "import cv2, numpy as np\n"
        "from harness import evaluation\n"
        "from harness.cli import main\n"
        "evaluation._CHUNK = 1\n"
        "cv2.setNumThreads(3)\n"
        "cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (0, 0), 9)\n"
        "main()\n"
    )
    given = ("--masks", folder / "masks", "--ground-truth", folder / "truth", "--classes", CLASSES)
    line = [sys.executable, "-c", script, "evaluate", *map(str, given), "--workers", "2"]
    subprocess.run(line, check=True, timeout=PATIENCE, env=os.environ | {"PYTHONPATH": str(ROOT)})


def _remove(folder: Path) -> None:
    (folder / "masks" / f"{IDS[2]}.png").unlink()


def _shrink(folder: Path) -> None:
    write_mask(folder / "masks" / f"{IDS[3]}.png", label_map(3)[1:], voc_palette())


def _mislabel(folder: Path) -> None:
    write_mask(folder / "masks" / f"{IDS[1]}.png", np.full_like(label_map(1), 9), voc_palette())


def _diverge(folder: Path) -> None:
    maps = {0: np.full(label_map(0).shape, np.nan, np.float32)}
    np.save(folder / "cams" / f"{IDS[0]}.npy", maps, allow_pickle=True)


def _void(folder: Path) -> None:
    for image_id in IDS:
        write_mask(folder / "truth" / f"{image_id}.png", np.full_like(label_map(0), 255), voc_palette())


def _nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (_remove, "--masks masks", r"1 images without a prediction in .*masks \(the first is image 2\)"),
        (_shrink, "--masks masks", r"image 3 does not fit its ground truth: ground truth is \(35, 48\)"),
        (_mislabel, "--masks masks", "image 1 does not fit .* holds label 9, but there are 5 classes"),
        (_diverge, "--scores cams", "image 0.npy holds values that are no finite numbers"),
        (_void, "--masks masks", "no pixel of split 'all images' counts"),
        (_nothing, "--masks masks --scores cams", "give one of --scores and --masks"),
        (_nothing, "", "give one of --scores and --masks"),
        (_nothing, "--masks masks --dataset voc", "give one of --dataset and --ground-truth"),
        (_nothing, "--masks masks --threshold 0.3", "have a background: leave out --threshold"),
        (_nothing, "--masks cams", "holds class maps, not label maps: give it with --scores"),
        (_nothing, "--scores cams --sweep 0.1", "--sweep 0.1 is no START:STOP:STEP"),
        (_nothing, "--scores cams --sweep 0.3:0.1:0.1", "is no START:STOP:STEP"),
        (_nothing, "--scores cams --sweep 0:1:1e-6", "1000001 thresholds, more than 1000: take larger steps"),
        (_nothing, "--scores nowhere", "there is no folder .*nowhere"),
        (_nothing, "--scores cams --layout npz", "there is no layout 'npz'"),
        (_nothing, "--masks masks --list nowhere.txt", "nowhere.txt"),
        (_nothing, "--masks masks --csv no/where.csv", "there is no folder .*no to write where.csv to"),
    ],
)
def test_wrong_input_is_one_sentence(
    evaluate: Evaluate, folder: Path, prepare: Callable[[Path], None], arguments: str, message: str
) -> None:
    prepare(folder)
    places = ("masks", "cams", "nowhere", "nowhere.txt", "no/where.csv")
    given = [str(folder / word) if word in places else word for word in arguments.split()]
    with pytest.raises(InputError, match=message) as error:
        evaluate(*given)
    assert "\n" not in str(error.value)


def test_a_folder_of_ground_truth_needs_the_number_of_classes(command: Command, folder: Path) -> None:
    outcome = command("evaluate", "--masks", folder / "masks", "--ground-truth", folder / "truth")
    assert outcome.status == 2
    assert outcome.sentence.endswith("add --classes")
