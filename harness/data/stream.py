"""Training samples as a pure function of (seed, position): a resumed training sees the same ones.

Position p of a run's sample stream determines the epoch, the image and every random draw
(`docs/design.md`, Determinism); number of workers, restarts and batch boundaries do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from harness.data.auxiliary import map_path, read_map
from harness.data.dataset import Dataset
from harness.data.palette import read_mask
from harness.data.transforms import SquareCrop
from harness.errors import InputError
from harness.npz import read_npz

Labels = Literal["image", "mask", "masks", "soft_masks"]
Transform = Callable[
    [NDArray[np.uint8], Any, np.random.Generator],
    tuple[NDArray[np.float32], NDArray[np.uint8] | None],
]


_SHUFFLE = 1  # third word of an epoch's entropy: keeps it apart from that of positions, which has two words


class TrainStream(TorchDataset[dict[str, Any]]):
    """An endless stream of training samples, indexed by position.

    Every epoch is a permutation of the images without its last incomplete batch. Fewer images than a batch
    are gone through again and again, so that a batch can be filled.

    Args:
        dataset: where images and labels come from.
        ids: images of the training.
        transform: (image (H, W, 3) uint8 RGB, label (H, W) uint8 or None, rng) -> (sample (3, h, w) float32,
            label or None).
        split: whose masks `labels="mask"` means.
        labels: `image`: image-level labels, no mask is ever opened; `mask`: the dataset's own masks;
            `masks`: the PNGs in the folder `masks`; `soft_masks`: the arrays there, which the transform makes
            a label of.
        masks: folder of `<image id>.png` or, for soft masks, of `<image id>.npz`; for these two only.
        auxiliary: folders of maps by name (`harness.data.auxiliary`), for a `SquareCrop` only.
        batch_size: samples per iteration over all processes.
        seed: of the run, not negative.

    Attributes:
        epoch_length: samples of an epoch.
        transform: as given.

    Raises:
        InputError: there are auxiliary maps or soft masks and the transform does not move any.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        transform: Transform,
        *,
        split: str,
        labels: Labels,
        masks: Path | None = None,
        auxiliary: Mapping[str, Path] | None = None,
        batch_size: int,
        seed: int,
    ) -> None:
        if (labels in ("masks", "soft_masks")) != (masks is not None):
            raise ValueError("a folder of masks goes with labels='masks' or 'soft_masks', and only with them")
        if not ids or batch_size < 1:
            raise ValueError(f"a stream needs images and a batch size, not {len(ids)} and {batch_size}")
        if auxiliary and not isinstance(transform, SquareCrop):
            raise InputError(
                f"transform '{type(transform).__name__}' cannot move {' and '.join(auxiliary)} maps with the "
                "image: name one that is a SquareCrop"
            )
        soft = labels == "soft_masks"
        if soft != getattr(transform, "soft", False):
            raise InputError(
                f"transform '{type(transform).__name__}' makes its label of "
                f"{'masks' if soft else 'soft masks'}, "
                f"which the stage 'labels' does not make: name another one"
            )
        self._dataset = dataset
        self._ids = tuple(ids)
        self.transform = transform
        self._split = split
        self._labels = labels
        self._masks = masks
        self._auxiliary = dict(auxiliary or {})
        self._seed = seed
        self.epoch_length = len(ids) // batch_size * batch_size or len(ids)

    def __len__(self) -> int:
        """Return the number of samples of an epoch; positions go on beyond it."""
        return self.epoch_length

    def image_id(self, position: int) -> str:
        """Return the image at a position."""
        epoch, place = divmod(position, self.epoch_length)
        return self._ids[_permutation(self._seed, epoch, len(self._ids))[place]]

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return `inputs` (3, h, w) float32 and `data_samples`, a SegDataSample.

        The sample carries `image_labels` (C,) float32, or `gt_sem_seg.data` (1, h, w) int64, and each
        auxiliary map under its name: `saliency.data` (1, h, w) float32 in [0, 1].

        Raises:
            InputError: an image, annotation, mask or map is missing, broken or of the wrong size.
        """
        sample = self.raw(position)
        if isinstance(self.transform, SquareCrop):
            sample["inputs"] = torch.from_numpy(sample.pop("square").to_float(self.transform.to_float))
        return sample

    def raw(self, position: int) -> dict[str, Any]:
        """Return the same with a `square` of bytes in the place of `inputs` where the transform makes one."""
        image_id = self.image_id(position)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, position])))
        image = self._dataset.read_image(image_id)
        label = self._label(image_id, image.shape[:2])
        sample: dict[str, Any] = {"data_samples": SegDataSample(metainfo={"image_id": image_id})}
        if isinstance(self.transform, SquareCrop):
            maps = {name: self._map(name, image_id, image.shape[:2]) for name in self._auxiliary}
            square, label, moved = self.transform.raw(image, label, maps, rng)
            for name, values in moved.items():
                sample["data_samples"].set_field(PixelData(data=torch.from_numpy(values)), name)
            sample["square"], size = square, square.pixels.shape[:2]
        else:
            inputs, label = self.transform(image, label, rng)
            sample["inputs"], size = torch.from_numpy(np.ascontiguousarray(inputs)), inputs.shape[1:]
        self._add_target(sample["data_samples"], image_id, label, size)
        return sample

    def _add_target(
        self,
        sample: SegDataSample,
        image_id: str,
        label: NDArray[np.uint8] | None,
        size: tuple[int, ...],
    ) -> None:
        sample.set_metainfo({"img_shape": size})
        if label is None:
            # A copy: the dataset hands out one read-only array per image.
            sample.set_data({"image_labels": torch.from_numpy(self._dataset.image_labels(image_id).copy())})
        else:
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(label.astype(np.int64))[None])

    def _label(self, image_id: str, size: tuple[int, ...]) -> Any:
        if self._labels == "image":
            return None
        if self._labels == "soft_masks":
            return self._soft_masks(image_id, size)
        if self._masks is None:
            path = self._dataset.mask_path(image_id, self._split)
            mask = self._dataset.read_mask(image_id, self._split)
        else:
            path = self._masks / f"{image_id}.png"
            mask = read_mask(path)
        self._require_size("mask", path, mask, image_id, size)
        return mask

    def _soft_masks(self, image_id: str, size: tuple[int, ...]) -> dict[str, NDArray[Any]]:
        assert self._masks is not None
        path = self._masks / f"{image_id}.npz"
        arrays = read_npz(path)
        for array in arrays.values():
            if array.ndim == 3:  # what is not is no map of the image
                self._require_size("soft mask", path, array[0], image_id, size)
        return arrays

    def _map(self, name: str, image_id: str, size: tuple[int, ...]) -> NDArray[np.uint8]:
        path = map_path(self._auxiliary[name], image_id)
        values = read_map(path)
        self._require_size(f"{name} map", path, values, image_id, size)
        return values

    def _require_size(
        self, what: str, path: Path, plane: NDArray[np.uint8], image_id: str, size: tuple[int, ...]
    ) -> None:
        if plane.shape != size:
            raise InputError(
                f"the {what} {path} is {plane.shape[1]} x {plane.shape[0]} pixels but its image "
                f"{self._dataset.image_path(image_id)} is {size[1]} x {size[0]}: replace the wrong one"
            )


class PositionSampler(Sampler[int]):
    """Positions `start` to `stop` - 1, in order; of several processes, each has its part of every batch.

    Args:
        start: first position: iterations done so far times batch size.
        stop: iterations of the whole training times batch size.
        batch_size: samples per iteration over all processes, a multiple of their number.
        part: rank of this process, and number of processes.
    """

    def __init__(self, start: int, stop: int, batch_size: int = 1, part: tuple[int, int] = (0, 1)) -> None:
        rank, processes = part
        self._share = batch_size // processes
        self._batches = range(start + rank * self._share, stop, batch_size)

    def __len__(self) -> int:
        return len(self._batches) * self._share

    def __iter__(self) -> Iterator[int]:
        return (first + place for first in self._batches for place in range(self._share))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    sequence = np.random.SeedSequence([seed, epoch, _SHUFFLE])
    return np.random.Generator(np.random.PCG64(sequence)).permutation(count)
