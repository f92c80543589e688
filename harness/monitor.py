"""Seconds, memory, writes and energy of a running stage, measured from inside its process."""

from __future__ import annotations

import os
import sys
import threading
import time
from array import array
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import psutil
from pydantic import Field

from harness.nvml import GpuMeasurements, GpuSampler, nvml_session, visible_devices
from harness.process_tree import (
    TreeMemory,
    container_memory_peak,
    folder_bytes,
    owns_container,
    tree_bytes_written,
)

_COST_LIMIT = 0.005  # share of one core that sampling may take
_WARM_UP_SHARE = 0.1
_WARM_UP_MIN, _WARM_UP_MAX = 2, 50  # iterations
_MEASURED_MIN = 2  # iterations


class Measurements(GpuMeasurements):
    """What a stage's process (with its children) used. GPU fields are None without a GPU, never 0."""

    wall_seconds: float = Field(description="seconds from start to end of the stage's work")
    host_memory_peak_bytes: int = Field(description="peak memory of the process tree, see host_memory_kind")
    host_memory_kind: Literal["pss", "rss"] = Field(
        description="'pss': shared pages counted once; 'rss': once per process (where PSS cannot be read)"
    )
    container_memory_peak_bytes: int | None = Field(
        default=None,
        description="the kernel's peak for the stage's container, page cache included; None outside one",
    )
    bytes_written: int | None = Field(description="bytes written, see bytes_written_source")
    bytes_written_source: Literal["process", "folder"] | None = Field(
        description="'process': sent towards storage by the process tree (tmpfs and pipes do not count); "
        "'folder': growth of the stage's folder, where the system keeps no such count"
    )
    torch_allocated_peak_bytes: int | None = Field(
        default=None, description="peak of torch's live tensors on the fullest GPU of this process"
    )
    torch_reserved_peak_bytes: int | None = Field(
        default=None, description="peak of what torch's allocator held on the fullest GPU of this process"
    )
    samples: int = Field(description="times that memory and GPU were looked at")
    sampling_cpu_seconds: float = Field(description="CPU seconds that the sampling itself took")


class Monitor:
    """Context manager that measures everything between its start and its end.

    A daemon thread samples at `interval`, less often where a sample is expensive (many processes, much
    memory), so that sampling stays under half a percent of one core.

    Args:
        folder: the stage's folder; only looked at where the system does not count a process's writes.
        interval: seconds between two samples.
        nvml: an initialised NVML module to use instead of the system's, for tests.

    Attributes:
        result: the `Measurements`, from the end of the block on, also when it ended with an exception.
    """

    result: Measurements

    def __init__(self, folder: Path | None = None, *, interval: float = 0.5, nvml: Any = None) -> None:
        self._folder = folder
        self._interval = interval
        self._injected_nvml = nvml
        self._process = psutil.Process()
        self._memory = TreeMemory(self._process)
        self._gpu: GpuSampler | None = None
        self._nvml_session = ExitStack()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="monitor", daemon=True)
        self._samples = 0
        self._cpu_seconds = 0.0

    def __enter__(self) -> Monitor:
        _reset_torch_peaks()
        nvml = self._injected_nvml or self._nvml_session.enter_context(nvml_session())
        self._written = tree_bytes_written(self._process)
        self._folder_start = folder_bytes(self._folder) if self._folder and self._written is None else 0
        self._start = time.perf_counter()
        if nvml is not None:
            self._gpu = GpuSampler(nvml, visible_devices(nvml, os.environ), self._start)
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        wall_seconds = time.perf_counter() - self._start
        written, source = self._bytes_written()
        allocated, reserved = _torch_peaks()
        gpu = self._gpu.result() if self._gpu else GpuMeasurements()
        self._nvml_session.close()
        self.result = Measurements(
            **gpu.model_dump(),
            wall_seconds=wall_seconds,
            host_memory_peak_bytes=self._memory.peak,
            host_memory_kind=self._memory.kind,
            container_memory_peak_bytes=container_memory_peak() if owns_container(self._process) else None,
            bytes_written=written,
            bytes_written_source=source,
            torch_allocated_peak_bytes=allocated,
            torch_reserved_peak_bytes=reserved,
            samples=self._samples,
            sampling_cpu_seconds=self._cpu_seconds,
        )

    def _loop(self) -> None:
        while not self._stop.wait(self._pause()):
            self._sample()

    def _pause(self) -> float:
        """Seconds to the next sample: the interval, or longer until the share of CPU time is in its limit."""
        elapsed = time.perf_counter() - self._start
        return max(self._interval, self._cpu_seconds / _COST_LIMIT - elapsed)

    def _sample(self) -> None:
        began = time.thread_time()
        self._memory.sample()
        if self._gpu:
            self._gpu.sample(time.perf_counter())
        self._samples += 1
        self._cpu_seconds += time.thread_time() - began

    def _bytes_written(self) -> tuple[int | None, Literal["process", "folder"] | None]:
        end = tree_bytes_written(self._process)
        if self._written is not None and end is not None:
            return max(0, end - self._written), "process"
        if self._folder is not None:
            return max(0, folder_bytes(self._folder) - self._folder_start), "folder"
        return None, None


class Throughput:
    """Images per second in steady state.

    Call `add` once after every iteration (training) or image (inference). The first tenth of the iterations,
    at least 2 and at most 50, is left out: autotuning, worker start and cold caches happen there. What
    interrupts the steady state later (checkpoints, a slow disk) counts.
    """

    def __init__(self) -> None:
        self._seconds = array("d")
        self._images = array("q")

    def add(self, images: int) -> None:
        """Note that an iteration with this many images has just ended."""
        self._seconds.append(time.perf_counter())
        self._images.append(images)

    @property
    def images_per_second(self) -> float | None:
        """The mean rate; None with fewer than 2 iterations after the excluded ones."""
        iterations = len(self._images)
        skipped = min(max(_WARM_UP_MIN, int(iterations * _WARM_UP_SHARE)), _WARM_UP_MAX)
        if iterations - skipped < _MEASURED_MIN:
            return None
        # The clock starts at the end of the last excluded iteration.
        seconds = self._seconds[-1] - self._seconds[skipped - 1]
        return sum(self._images[skipped:]) / seconds if seconds > 0 else None


def _cuda() -> Any | None:
    """`torch.cuda` if this process uses it already; looking must not import torch or start CUDA."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _reset_torch_peaks() -> None:
    cuda = _cuda()
    if cuda is not None:
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)


def _torch_peaks() -> tuple[int | None, int | None]:
    cuda = _cuda()
    if cuda is None:
        return None, None
    devices = range(cuda.device_count())
    return (
        max((cuda.max_memory_allocated(i) for i in devices), default=None),
        max((cuda.max_memory_reserved(i) for i in devices), default=None),
    )
