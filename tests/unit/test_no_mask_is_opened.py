"""A training on image-level labels opens no mask, in none of its processes, whatever the dataset."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data import open_dataset
from harness.data.coco_prepare import derive_coco
from harness.data.dataset import Dataset, LabelSource
from harness.data.label_list import write_label_list
from harness.request import DatasetRequest, StageRequest
from harness.schema import STAGE
from tests.tiny_stages import TRAIN
from tests.unit.coco_tree import make_coco
from tests.unit.voc_tree import make_voc

ROOT = Path(__file__).resolve().parents[2]


CASES = [(name, labels) for name in ("voc", "coco", "shapes") for labels in ("annotations", "masks")]


def open_small(name: str, folder: Path, shapes_root: Path, labels: LabelSource) -> Dataset:
    """A small dataset with image-level labels from this source."""
    folder.mkdir()
    if name == "coco":
        derive_coco(make_coco(folder), workers=1)
        return open_dataset(name, folder, labels=labels)
    root = make_voc(folder) if name == "voc" else shutil.copytree(shapes_root, folder / "shapes")
    dataset = open_dataset(name, root, labels=labels)
    if labels == "masks":
        write_label_list(dataset.mask_labels_path, [(image_id, [1, 3]) for image_id in dataset.ids("train")])
    return dataset


def training(folder: Path, dataset: Dataset, labels: str) -> Path:
    """Write the request for a training of two iterations, with a data loading process."""
    classes = dataset.num_classes + (labels == "mask")
    config = {
        **TRAIN,
        "labels": labels,
        "model": {"type": "TinyNet", "num_classes": classes},
        "train_dataloader": {"batch_size": 2, "num_workers": 1},
        "train_cfg": {"max_iters": 2},
    }
    request = StageRequest(
        stage="cam",
        type="train",
        key="0" * 32,
        config=STAGE.validate_python(config).model_dump(mode="json"),
        custom_imports=["tests.tiny_stages"],
        dataset=DatasetRequest(
            name=dataset.name,
            root=dataset.root,
            num_classes=dataset.num_classes,
            labels=dataset.labels,
            ids={"train": list(dataset.ids("train"))},
        ),
    )
    folder.mkdir()
    (folder / "stage.json").write_text(request.model_dump_json())
    return folder / "stage.json"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> dict[str, list[str]]:
    """Which files of the dataset each training opened, by its name; they run in one process after another."""
    folder = tmp_path_factory.mktemp("observed")
    datasets = {
        f"{name}-{labels}": open_small(name, folder / f"{name}-{labels}", shapes_root, labels)
        for name, labels in CASES
    }
    requests = [training(folder / f"{case}-training", found, "image") for case, found in datasets.items()]
    requests.append(training(folder / "full-training", datasets["voc-annotations"], "mask"))
    command = [sys.executable, "-m", "tests.observed_stage", *requests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    roots = {
        **{case: found.root for case, found in datasets.items()},
        "full": datasets["voc-annotations"].root,
    }
    paths = {case: (folder / f"{case}-training" / "opened").read_text().splitlines() for case in roots}
    return {
        case: [path.removeprefix(str(root)) for path in paths[case] if path.startswith(str(root))]
        for case, root in roots.items()
    }


@pytest.mark.parametrize(("name", "labels"), CASES)
def test_training_on_image_labels_opens_no_mask(name: str, labels: str, opened: dict[str, list[str]]) -> None:
    paths = opened[f"{name}-{labels}"]
    assert [path for path in paths if path.endswith((".jpg", ".png"))]
    assert not [path for path in paths if "Segmentation" in path and "ImageSets" not in path]


def test_the_observer_sees_masks_where_they_are_trained_on(opened: dict[str, list[str]]) -> None:
    assert [path for path in opened["full"] if path.startswith("/SegmentationClass/")]
