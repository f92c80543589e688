"""COCO's semantic masks: images per second and core against the plain loop; memory of a large file."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from pycocotools.coco import COCO as API

from harness.data import coco_prepare
from harness.data.coco_classes import CLASSES, LABEL_OF_CATEGORY
from harness.data.coco_instances import read_instances
from harness.process_tree import TreeMemory

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
MINI = SHARED / "data" / "coco-mini"
INSTANCES = "annotations/instances_train2014.json"

needs_mini = pytest.mark.skipif(not MINI.is_dir(), reason="no coco-mini beside the checkout (HARNESS_SHARED)")

# The official train file has 82,783 images, 604,907 annotations and, by the page that offers it, 0.5 GB.
IMAGES, ANNOTATIONS, BYTES = 82_783, 604_907, 500_000_000
SIZE = (64, 48)  # of the synthetic photographs: what is drawn does not matter to the memory of reading
LIMIT = 6 << 30


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    for name in ("annotations", "JPEGImages"):
        (tmp_path / name).symlink_to(MINI / name)
    (tmp_path / "SegmentationClass" / "train2014").mkdir(parents=True)
    return tmp_path


@needs_mini
@pytest.mark.benchmark(group="masks of 100 photographs of COCO, one core")
def test_derivation(benchmark, mini: Path) -> None:
    images = read_instances(mini / INSTANCES)
    coco_prepare._begin(mini)

    def anew() -> None:
        for mask in mini.glob("SegmentationClass/train2014/*.png"):
            mask.unlink()

    benchmark.pedantic(coco_prepare._draw_shard, (images,), setup=anew, rounds=5)
    assert len(list(mini.glob("SegmentationClass/train2014/*.png"))) == 100


@needs_mini
@pytest.mark.benchmark(group="masks of 100 photographs of COCO, one core")
def test_plain_loop_over_the_api(benchmark, mini: Path) -> None:
    api = API(mini / INSTANCES)
    label = {category: index for index, category in enumerate(api.getCatIds(), start=1)}

    def derive() -> None:
        for image_id, image in api.imgs.items():
            mask = np.zeros((image["height"], image["width"]), np.uint8)
            for annotation in api.loadAnns(api.getAnnIds(image_id)):
                covered = api.annToMask(annotation) == 1
                mask[covered & (mask == 0)] = label[annotation["category_id"]]
            name = Path(image["file_name"]).with_suffix(".png")
            Image.fromarray(mask).save(mini / "SegmentationClass" / "train2014" / name)

    benchmark.pedantic(derive, rounds=5)


@pytest.mark.benchmark(group="all of COCO's train annotations, tiny photographs")
def test_memory_at_the_size_of_the_train_set(benchmark, tmp_path: Path) -> None:
    make_large_coco(tmp_path)
    code = "import sys; from pathlib import Path; from harness.data.coco_prepare import derive_coco; "
    code += "derive_coco(Path(sys.argv[1]), workers=2)"
    peaks: list[float] = []

    def derive() -> None:
        process = psutil.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
        memory = TreeMemory(process)
        while True:
            memory.sample()
            try:
                status = process.wait(timeout=0.1)
            except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
                continue
            break
        assert status == 0
        peaks.append(memory.peak)

    benchmark.pedantic(derive, rounds=1)
    benchmark.extra_info["peak MiB"] = round(max(peaks) / 2**20)
    assert max(peaks) < LIMIT


def make_large_coco(root: Path) -> None:
    """Write instances as large as the official ones, with one photograph under 82,783 names."""
    photograph = root / "photograph.jpg"
    Image.new("RGB", SIZE).save(photograph)
    for subset, count in (("train2014", IMAGES), ("val2014", 1)):
        (root / subset).mkdir()
        for number in range(count):
            (root / subset / f"COCO_{subset}_{number:012d}.jpg").symlink_to(photograph)
        path = root / "annotations" / f"instances_{subset}.json"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            file.writelines(large_instances(subset, count, ANNOTATIONS if count > 1 else 1))


def large_instances(subset: str, images: int, annotations: int) -> Iterator[str]:
    """Text of an instances file, in the order of members and keys that the official ones have."""
    draw = random.Random(0)
    yield '{"info": {"year": 2014}, "images": ['
    for number in range(images):
        name = f"COCO_{subset}_{number:012d}.jpg"
        yield f'{", " if number else ""}{{"license": 5, "file_name": "{name}", "height": {SIZE[1]}, '
        yield f'"width": {SIZE[0]}, "date_captured": "2013-11-14 16:28:13", "id": {number}}}'
    yield '], "licenses": [], "annotations": ['
    points = BYTES // ANNOTATIONS // 14  # about as many bytes per point
    polygons = [disc(draw, points) for _ in range(64)]
    categories = list(LABEL_OF_CATEGORY)
    for number in range(annotations):
        yield f'{", " if number else ""}{{"segmentation": [[{draw.choice(polygons)}]], "area": 702.1, '
        yield f'"iscrowd": 0, "image_id": {draw.randrange(images)}, "bbox": [1.5, 2.5, 10.1, 12.9], '
        yield f'"category_id": {draw.choice(categories)}, "id": {number}}}'
    rows = (
        f'{{"id": {category}, "name": "{CLASSES[label]}"}}' for category, label in LABEL_OF_CATEGORY.items()
    )
    yield f'], "categories": [{", ".join(rows)}]}}'


def disc(draw: random.Random, points: int) -> str:
    """A round polygon somewhere in the photograph, as numbers with commas."""
    x, y, radius = draw.uniform(10, SIZE[0] - 10), draw.uniform(10, SIZE[1] - 10), draw.uniform(2, 10)
    turns = [2 * math.pi * point / points for point in range(points)]
    return ",".join(f"{x + radius * math.cos(turn):.2f},{y + radius * math.sin(turn):.2f}" for turn in turns)
