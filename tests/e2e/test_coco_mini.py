"""Real photographs of COCO: from what is unpacked to seeds, as a user types it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.command import Command
from tests.e2e.work_folder import last_record

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[3] / "shared"))
COCO_MINI = SHARED / "data" / "coco-mini"

# The network of the paper on pictures small enough for a processor.
SHORT = {
    "stages.cam.transform.crop": 96,
    "stages.cam.transform.long_side": [96, 128],
    "stages.cam.train_dataloader.batch_size": 2,
    "stages.cam_scores.inference.scales": [0.25],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COCO_MINI.is_dir(), reason="no coco-mini beside the checkout (HARNESS_SHARED)"),
]


def test_prepared_photographs_are_trained_on_and_their_seeds_evaluated(
    command: Command, tmp_path: Path
) -> None:
    root, work = tmp_path / "COCO 2014", tmp_path / "work"
    shutil.copytree(COCO_MINI, root, copy_function=shutil.copyfile)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    run = ["run", "--method", "vwe", "--dataset", "coco", "--data-root", root, "--weights", "none"]
    run += ["--executor", "local", "--smoke", "--limit", "3", "--work-dir", work]
    run += [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]

    refused = command(*run)
    assert refused.status == 2
    assert f"not derived yet (coco.json is missing): type `harness data prepare coco --root '{root}'`" in (
        refused.sentence
    )

    prepared = command("data", "prepare", "coco", "--root", root)
    assert prepared.status == 0, prepared.errors + prepared.output
    assert len(list(root.glob("SegmentationClass/*/*.png"))) == 200

    for stage in ("cam", "cam_scores", "seeds"):
        done = command(*run, "--only", stage)
        assert done.status == 0, done.errors + done.output
    record = last_record(work)
    assert "custom data" in record.marks
    best, fixed = record.metrics
    assert (best.protocol.split, best.protocol.images) == ("train", 3)
    assert best.protocol.ground_truth.startswith("SegmentationClass")
    assert len(best.per_class) == 81
    assert best.value >= fixed.value > 0
