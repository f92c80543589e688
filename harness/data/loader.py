"""Batches of training samples, made ready on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from harness.data.stream import PositionSampler, TrainStream
from harness.data.transforms import SquareCrop


class TrainLoader(DataLoader[dict[str, Any]]):
    """Batches of a stream: `inputs` (N, 3, h, w) float32 on the device, and `data_samples`, a list.

    Samples travel from the data loading processes as bytes, which are a quarter of the floats, and become
    floats on the device, to the last bit those that the stream has.

    Args:
        stream: the samples.
        batch_size: samples per batch over all processes that train together.
        start, stop: positions in the stream.
        workers: data loading processes; 0 for none.
        device: that trains.
        part: rank of this process, and number of processes; each gets its part of every batch.
    """

    def __init__(
        self,
        stream: TrainStream,
        *,
        batch_size: int,
        start: int,
        stop: int,
        workers: int,
        device: torch.device,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(
            _RawStream(stream),
            batch_size=batch_size // part[1],
            sampler=PositionSampler(start, stop, batch_size, part),
            num_workers=workers,
            collate_fn=_collate,
            # A loader seeds its processes with a random number; the model's stay those of an undisturbed run.
            generator=torch.Generator(),
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        self._to_float = stream.transform.to_float if isinstance(stream.transform, SquareCrop) else None
        self._device = device

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        for batch in super().__iter__():
            if self._to_float is not None:
                pixels = batch.pop("pixels").to(self._device, non_blocking=True)
                batch["inputs"] = _cleared(self._to_float.batch(pixels), batch.pop("windows"))
            yield batch


def _cleared(inputs: Tensor, windows: Tensor) -> Tensor:
    """Set the inputs (N, 3, h, w) to 0 outside of the windows (N, 4): top, bottom, left, right."""
    for sample, (top, bottom, left, right) in zip(inputs, windows.tolist(), strict=True):
        for outside in (sample[:, :top], sample[:, bottom:], sample[..., :left], sample[..., right:]):
            outside.zero_()
    return inputs


class _RawStream(TorchDataset[dict[str, Any]]):
    def __init__(self, stream: TrainStream) -> None:
        self._stream = stream

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self._stream.raw(position)


def _collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack what is stacked right in memory that is shared with the training, as torch's own collation."""
    batch: dict[str, Any] = {"data_samples": [sample["data_samples"] for sample in samples]}
    if "inputs" in samples[0]:
        return batch | {"inputs": default_collate([sample["inputs"] for sample in samples])}
    squares = [sample["square"] for sample in samples]
    windows = [(s.rows.start, s.rows.stop, s.columns.start, s.columns.stop) for s in squares]
    pixels = default_collate([torch.from_numpy(square.pixels) for square in squares])
    return batch | {"pixels": pixels, "windows": torch.tensor(windows)}
