"""Sixty thresholds over all of VOC val, against reading and evaluating threshold by threshold.

The masks are the real ones; CAMs are synthetic, at image size in float32, of one to three classes per image.
The other side reads and evaluates as released scripts do, each image anew at each threshold. It is timed on
every `SAMPLE`th image before and after the sweep, in one process, and scaled to all images.
"""

from __future__ import annotations

import multiprocessing
import os
import tarfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.artifact import Artifact
from harness.evaluation import Evaluation, conclude, count
from harness.monitor import Monitor
from harness.prediction_source import FolderTruth, open_source
from harness.prepare import cpu_workers
from harness.report import Protocol
from harness.stages.per_image import save_scores

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
LABELS, LIST = SHARED / "data" / "voc2012-labels.tar", SHARED / "data" / "lists" / "voc" / "val.txt"
SIXTY = [round(0.01 * step, 2) for step in range(60)]
CLASSES = 20
SAMPLE = 96
ROUNDS = 3

pytestmark = pytest.mark.skipif(
    not LABELS.is_file(), reason="no voc2012-labels.tar beside the checkout (HARNESS_SHARED)"
)


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the masks of val (`masks`), and CAMs as authors (`npy`) and as we (`npz`) write them."""
    root = tmp_path_factory.mktemp("voc val")
    for name in ("masks", "npy"):
        (root / name).mkdir()
    artifact = Artifact(root / "npz").open()
    wanted = set(LIST.read_text(encoding="utf-8").split())
    with tarfile.open(LABELS) as archive:
        for member in archive:
            image_id = Path(member.name).stem
            if image_id in wanted and (file := archive.extractfile(member)):
                (root / "masks" / f"{image_id}.png").write_bytes(file.read())
    # In processes of their own, so that the memory of this one is that of the evaluation.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_cams, sorted((root / "masks").iterdir()), chunksize=50))
    artifact.finish("scores", "cams", "0", {"scores": "cam"})
    yield root
    for path in root.rglob("*.np?"):  # 3 GB, which pytest would keep
        path.unlink()


def write_cams(mask: Path) -> None:
    """Write the CAMs of one image in both layouts."""
    root, image_id = mask.parents[1], mask.stem
    keys, maps = synthetic_cams(mask)
    np.save(root / "npy" / f"{image_id}.npy", dict(zip(keys.tolist(), maps)), allow_pickle=True)
    quarter = np.ascontiguousarray(maps[:, ::4, ::4])
    scores = {"keys": keys, "cam": quarter, "high_res": maps}
    save_scores(root / "npz" / "files" / f"{image_id}.npz", scores)


def synthetic_cams(mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """Blurred ground truth of up to three classes with coarse noise: (K,) and (K, H, W) in [0, 1]."""
    truth = np.array(Image.open(mask))
    keys = np.array([label - 1 for label in np.unique(truth) if 0 < label < 255][:3])
    rng = np.random.default_rng(zlib.crc32(mask.stem.encode()))
    maps = []
    for key in keys:
        object_ = cv2.GaussianBlur((truth == key + 1).astype(np.float32), (0, 0), 12)
        coarse = rng.random((truth.shape[0] // 16 + 2, truth.shape[1] // 16 + 2), dtype=np.float32)
        map_ = 0.7 * object_ + 0.3 * cv2.resize(coarse, truth.shape[::-1])
        maps.append((map_ - map_.min()) / (map_.max() - map_.min()))
    return keys, np.stack(maps).astype(np.float32)


def evaluate_as_scripts_do(root: Path, image_id: str, threshold: float) -> np.ndarray:
    """Confusion matrix of one image at one threshold, from its files."""
    cams = np.load(root / "npy" / f"{image_id}.npy", allow_pickle=True).item()
    keys, maps = np.array(list(cams)), np.stack(list(cams.values()))
    stack = np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
    prediction = np.concatenate([[0], keys + 1])[stack.argmax(axis=0)]
    truth = np.array(Image.open(root / "masks" / f"{image_id}.png")).astype(np.int64)
    counted = truth <= CLASSES
    pairs = np.bincount(truth[counted] * (CLASSES + 1) + prediction[counted], minlength=(CLASSES + 1) ** 2)
    return pairs.reshape(CLASSES + 1, CLASSES + 1)


def seconds_of_scripts(root: Path, ids: list[str]) -> np.ndarray:
    """Wall and CPU seconds that all images would take at all thresholds, by those of a sample."""
    sample = ids[::SAMPLE]
    began = clocks()
    for threshold in SIXTY:
        for image_id in sample:
            evaluate_as_scripts_do(root, image_id, threshold)
    return (clocks() - began) * len(ids) / len(sample)


def clocks() -> np.ndarray:
    """Seconds so far: of the clock on the wall, and of processors, in this process and those that ended."""
    return np.array([time.perf_counter(), sum(os.times()[:4])])


@pytest.mark.parametrize("boundary", [False, True], ids=["regions", "regions and boundaries"])
@pytest.mark.parametrize("layout", ["npy", "npz"])
@pytest.mark.benchmark(group="sixty thresholds over VOC val")
def test_sweep_of_voc_val(benchmark, voc: Path, layout: str, boundary: bool, capsys) -> None:
    ids = LIST.read_text(encoding="utf-8").split()
    truth = FolderTruth(voc / "masks", CLASSES)
    protocol = Protocol(dataset="voc", split="val", images=len(ids), ground_truth="masks", details={})

    def sweep() -> float:
        source = open_source(voc / layout, None, CLASSES)
        evaluation = Evaluation(ids, source, truth, SIXTY, boundary=boundary)
        tally = count(evaluation, cpu_workers(), lambda images: None)
        (quality,), _ = conclude(evaluation, tally, protocol)
        return quality.value

    scripts = seconds_of_scripts(voc, ids)
    began = clocks()
    benchmark.pedantic(sweep, rounds=ROUNDS)
    _, cpu = (clocks() - began) / ROUNDS
    with Monitor(interval=0.05) as monitor:
        sweep()
    scripts = (scripts + seconds_of_scripts(voc, ids)) / 2
    wall = benchmark.stats.stats.median
    peak = monitor.result.host_memory_peak_bytes / (1 << 20)
    with capsys.disabled():
        print(
            f"\n{layout}, boundaries {boundary}: {len(ids)} images in {wall:.2f} s ({cpu:.2f} s of CPU) with "
            f"{cpu_workers()} processes, peak {peak:.0f} MiB; threshold by threshold {scripts[0]:.0f} s "
            f"({scripts[1]:.0f} s of CPU) with one: {scripts[0] / wall:.0f} times as long"
        )
