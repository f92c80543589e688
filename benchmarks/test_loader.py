"""Loading for image classification, 448 crops of photographs: images per second of the train stage's loader.

Beside it stands a loader of torchvision's parts: `VOCSegmentation`, its transforms, torch's own collation,
with as many processes. Each round is 96 images in steady state. Without the small set of photographs
(`HARNESS_SHARED`, or `shared` beside the repository) all of this is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import VOCSegmentation
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ToTensor,
)
from torchvision.transforms.functional import resize

from harness.data import open_dataset, transforms
from harness.data.loader import TrainLoader
from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from harness.data.stream import TrainStream

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
PHOTOGRAPHS = SHARED / "data" / "voc-mini"
WORKERS, BATCH, BATCHES = 2, 16, 6
LONG_SIDE = (448, 768)

pytestmark = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs (HARNESS_SHARED)")
same_crops = pytest.mark.benchmark(group="96 images, resized crops")
same_scales = pytest.mark.benchmark(group="96 images, crops of a random scale (HSC)")
TO_INPUT = [RandomHorizontalFlip(), ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)]


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def measure(benchmark: Any, loader: DataLoader[Any]) -> None:
    """Time rounds of batches, after the processes have started."""
    batches = endless(loader)
    for _ in range(2 * WORKERS + 1):
        next(batches)
    benchmark.pedantic(lambda: [next(batches) for _ in range(BATCHES)], rounds=12)
    benchmark.extra_info["images_per_second"] = BATCH * BATCHES / benchmark.stats.stats.median


def ours(transform: Any, device: str = "cpu") -> DataLoader[Any]:
    """The train stage's loader, with image-level labels from the annotations.

    The device `meta` does nothing: what is left is the work of the processors where a GPU makes the floats.
    """
    dataset = open_dataset("voc", PHOTOGRAPHS)
    stream = TrainStream(
        dataset,
        dataset.ids("train"),
        transform,
        split="train",
        labels="image",
        batch_size=BATCH,
        seed=0,
    )
    return TrainLoader(
        stream, batch_size=BATCH, start=0, stop=10**9, workers=WORKERS, device=torch.device(device)
    )


def torchvisions(transform: Callable[[Any], Any], labels: Callable[[Image.Image], Any]) -> DataLoader[Any]:
    """torchvision's loader; `labels` makes the target of a mask."""
    dataset = VOCSegmentation(str(PHOTOGRAPHS), "2012", "train", transform=transform, target_transform=labels)
    # Many times over, since the prefetched batches end with each epoch.
    many = ConcatDataset([dataset] * 100)
    return DataLoader(many, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)


def classes(mask: Image.Image) -> torch.Tensor:
    """Image-level labels, which this dataset has in its masks only."""
    labels = torch.zeros(20)
    for label in np.unique(np.asarray(mask)):
        if 0 < label < 255:
            labels[label - 1] = 1
    return labels


def nothing(mask: Image.Image) -> int:
    """No labels at all: the mask is not even decoded."""
    return 0


def random_long_side(image: Image.Image) -> Image.Image:
    long_side = int(torch.randint(LONG_SIDE[0], LONG_SIDE[1] + 1, ()))
    height, width = (round(side * long_side / max(image.size)) for side in (image.height, image.width))
    return resize(image, [height, width], InterpolationMode.BICUBIC)


@same_crops
def test_ours(benchmark: Any) -> None:
    measure(benchmark, ours(transforms.RandomResizedCrop(448, resample="bilinear")))


@same_crops
def test_ours_with_floats_made_elsewhere(benchmark: Any) -> None:
    measure(benchmark, ours(transforms.RandomResizedCrop(448, resample="bilinear"), "meta"))


@same_crops
def test_torchvision(benchmark: Any) -> None:
    measure(benchmark, torchvisions(Compose([RandomResizedCrop(448), *TO_INPUT]), classes))


@same_crops
def test_torchvision_without_labels(benchmark: Any) -> None:
    measure(benchmark, torchvisions(Compose([RandomResizedCrop(448), *TO_INPUT]), nothing))


@same_scales
def test_ours_of_a_random_scale(benchmark: Any) -> None:
    measure(benchmark, ours(transforms.LongSideCrop(LONG_SIDE, 448)))


@same_scales
def test_ours_of_a_random_scale_with_floats_made_elsewhere(benchmark: Any) -> None:
    measure(benchmark, ours(transforms.LongSideCrop(LONG_SIDE, 448), "meta"))


@same_scales
def test_torchvision_of_a_random_scale(benchmark: Any) -> None:
    crop = RandomCrop(448, pad_if_needed=True)
    measure(benchmark, torchvisions(Compose([random_long_side, crop, *TO_INPUT]), classes))
