from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from harness.data.loader import TrainLoader
from harness.data.palette import voc_palette, write_mask
from harness.data.stream import PositionSampler, TrainStream
from harness.data.transforms import DeepLabCrop, LongSideCrop, RandomResizedCrop
from harness.data.voc import VOC
from harness.errors import InputError
from tests.unit.voc_tree import TRAIN, VAL, make_voc, write_list

IDS = (*TRAIN, *VAL)


def noisy_crop(
    image: np.ndarray, label: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    top = int(rng.integers(10))
    window = image[top : top + 20, :20].transpose(2, 0, 1).astype(np.float32)
    return window + rng.normal(size=window.shape).astype(np.float32), None if label is None else label[
        top : top + 20, :20
    ]


@pytest.fixture
def voc(tmp_path: Path) -> VOC:
    root = make_voc(tmp_path)
    write_list(root, "trainval", IDS)
    return VOC(root, tmp_path / "cache")


def stream(
    voc: VOC, ids: tuple[str, ...] = IDS, batch_size: int = 2, seed: int = 0, **labels: Any
) -> TrainStream:
    labels = labels or {"labels": "image"}
    return TrainStream(voc, ids, noisy_crop, split="trainval", batch_size=batch_size, seed=seed, **labels)


def test_same_seed_and_position_give_the_same_sample(voc: VOC) -> None:
    first, again, other = stream(voc), stream(voc), stream(voc, seed=1)
    assert torch.equal(first[7]["inputs"], again[7]["inputs"])
    assert any(first.image_id(p) != other.image_id(p) for p in range(20))
    assert not torch.equal(first[0]["inputs"], other[0]["inputs"])


def test_every_epoch_is_a_new_permutation_without_its_last_incomplete_batch(voc: VOC) -> None:
    samples = stream(voc, batch_size=2)
    assert len(samples) == 4
    epochs = [[samples.image_id(p) for p in range(start, start + 4)] for start in range(0, 80, 4)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10
    assert set(itertools.chain(*epochs)) == set(IDS)


def test_fewer_images_than_a_batch_are_repeated_evenly(voc: VOC) -> None:
    samples = stream(voc, ids=TRAIN, batch_size=7)
    counts = Counter(samples.image_id(p) for p in range(21))
    assert counts == dict.fromkeys(TRAIN, 7)


def test_resumed_loader_goes_on_where_the_first_stopped(voc: VOC) -> None:
    def batches(start: int, workers: int) -> list[torch.Tensor]:
        loader = DataLoader(
            stream(voc),
            batch_size=2,
            sampler=PositionSampler(start, 10),
            num_workers=workers,
            collate_fn=lambda samples: torch.stack([s["inputs"] for s in samples]),
        )
        return list(loader)

    whole, resumed = batches(0, 0), batches(6, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], resumed, strict=True))


@pytest.mark.parametrize(
    "transform",
    [
        LongSideCrop((20, 50), 32),
        LongSideCrop((20, 50), 32, jitter={}),
        DeepLabCrop(crop=32),
        RandomResizedCrop(32),
        noisy_crop,
    ],
    ids=["placed", "jittered", "caffe", "resized", "function"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_samples_to_the_last_bit(voc: VOC, transform: Any, workers: int) -> None:
    samples = TrainStream(voc, IDS, transform, split="trainval", labels="mask", batch_size=3, seed=0)
    cpu = torch.device("cpu")
    batches = list(TrainLoader(samples, batch_size=3, start=3, stop=12, workers=workers, device=cpu))
    assert len(batches) == 3
    for number, batch in enumerate(batches, start=1):
        expected = [samples[3 * number + place] for place in range(3)]
        assert set(batch) == {"inputs", "data_samples"}
        assert torch.equal(batch["inputs"], torch.stack([sample["inputs"] for sample in expected]))
        for found, sample in zip(batch["data_samples"], expected, strict=True):
            assert found.metainfo == sample["data_samples"].metainfo
            assert torch.equal(found.gt_sem_seg.data, sample["data_samples"].gt_sem_seg.data)


def test_image_labels_never_open_a_mask(voc: VOC) -> None:
    for path in (voc.root / "SegmentationClass").iterdir():
        path.unlink()
    sample = stream(voc)[0]["data_samples"]
    assert sample.image_labels.shape == (20,)
    assert sample.image_labels.sum() == 2
    assert "gt_sem_seg" not in sample


def test_own_masks_and_pseudo_masks(voc: VOC, tmp_path: Path) -> None:
    own = stream(voc, labels="mask")[0]["data_samples"]
    assert own.gt_sem_seg.data.shape == (1, 20, 20)
    assert own.gt_sem_seg.data.dtype == torch.int64
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    for image_id in IDS:
        write_mask(pseudo / f"{image_id}.png", np.full((30, 40), 9, np.uint8), voc_palette())
    samples = stream(voc, labels="masks", masks=pseudo)
    assert (samples[0]["data_samples"].gt_sem_seg.data == 9).all()
    write_mask(pseudo / f"{samples.image_id(0)}.png", np.zeros((4, 4), np.uint8), voc_palette())
    with pytest.raises(InputError, match=r"pseudo.* is 4 x 4 pixels"):
        samples[0]
