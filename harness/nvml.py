"""GPU counters from NVIDIA's management library: memory, utilisation, energy; all None without a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

T = TypeVar("T")


@contextlib.contextmanager
def nvml_session() -> Iterator[Any | None]:
    """Yield the initialised `pynvml` module, or None where there is no NVIDIA driver (or no `pynvml`)."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def visible_devices(nvml: Any, environ: Mapping[str, str]) -> list[Any]:
    """NVML handles of the GPUs that CUDA shows to this process.

    NVML ignores ``CUDA_VISIBLE_DEVICES``; without this a stage would be charged for its neighbours' GPUs.
    Numbers count in PCI bus order, which is CUDA's order too unless GPUs of different models are mixed.
    A list that CUDA itself would cut short at an unknown entry is cut there as well.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return handles
    uuids = [as_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    chosen = []
    for entry in (part.strip() for part in listed.split(",")):
        if entry.isdecimal():
            index = int(entry)
        else:
            index = next((i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)), -1)
        if not 0 <= index < len(handles):
            break
        chosen.append(handles[index])
    return chosen


class GpuMeasurements(BaseModel):
    """What the visible GPUs did between start and end; a field is None where the driver does not tell."""

    gpus: int | None = Field(default=None, description="visible GPUs; None without a driver")
    gpu_memory_peak_bytes: int | None = Field(
        default=None,
        description="bytes in use on the fullest visible GPU at its worst sample, by all processes on it and "
        "the driver itself",
    )
    gpu_utilisation_percent: float | None = Field(
        default=None, description="percent of time with a kernel running, mean over time and visible GPUs"
    )
    gpu_energy_joules: float | None = Field(
        default=None, description="joules drawn by all visible GPUs together, idle power included"
    )
    gpu_energy_source: Literal["counter", "power"] | None = Field(
        default=None,
        description="'counter': the driver's energy counter; 'power': integral of the sampled power",
    )


@dataclass
class _Device:
    """Running sums of one GPU."""

    handle: Any
    energy_start: int | None
    memory_peak: int | None = None
    utilisation_area: float = 0.0  # percent x seconds
    utilisation_seconds: float = 0.0
    power: float | None = None  # watts at the last sample
    power_area: float | None = None  # joules

    def add_power(self, watts: float | None, seconds: float) -> None:
        """Extend the trapezoidal integral; a gap (driver did not answer) contributes nothing."""
        if watts is not None and self.power is not None:
            self.power_area = (self.power_area or 0.0) + (watts + self.power) / 2 * seconds
        self.power = watts


class GpuSampler:
    """Peaks, means and integrals of NVML counters over samples at uneven intervals.

    Args:
        nvml: the initialised `pynvml` module.
        handles: devices to watch.
        now: seconds on any steady clock; the same clock for every call.
    """

    def __init__(self, nvml: Any, handles: Sequence[Any], now: float) -> None:
        self._nvml = nvml
        self._last = now
        self._devices = [
            _Device(handle, energy_start=self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle))
            for handle in handles
        ]
        self.sample(now)

    def sample(self, now: float) -> None:
        """Read memory, utilisation and power of every device."""
        seconds, self._last = now - self._last, now
        for device in self._devices:
            memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, device.handle)
            if memory is not None:
                device.memory_peak = max(device.memory_peak or 0, int(memory.used))
            # The driver reports on the time before the call, so the sample stands for that interval.
            rates = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, device.handle)
            if rates is not None:
                device.utilisation_area += rates.gpu * seconds
                device.utilisation_seconds += seconds
            milliwatts = self._ask(self._nvml.nvmlDeviceGetPowerUsage, device.handle)
            device.add_power(None if milliwatts is None else milliwatts / 1000, seconds)

    def result(self) -> GpuMeasurements:
        """Read the energy counters a last time and sum up over the devices."""
        if not self._devices:
            return GpuMeasurements()
        memory = [d.memory_peak for d in self._devices if d.memory_peak is not None]
        seconds = sum(d.utilisation_seconds for d in self._devices)
        counted = [self._counted_energy(device) for device in self._devices]
        energies = [d.power_area if e is None else e for d, e in zip(self._devices, counted)]
        known = [energy for energy in energies if energy is not None]
        complete = len(known) == len(energies)
        return GpuMeasurements(
            gpus=len(self._devices),
            gpu_memory_peak_bytes=max(memory, default=None),
            gpu_utilisation_percent=(
                sum(d.utilisation_area for d in self._devices) / seconds if seconds else None
            ),
            # A sum that leaves out one GPU would look like an efficient run.
            gpu_energy_joules=sum(known) if complete else None,
            gpu_energy_source=("power" if None in counted else "counter") if complete else None,
        )

    def _counted_energy(self, device: _Device) -> float | None:
        """Joules by the driver's millijoule counter; None if there is none or the driver was reloaded."""
        end = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption, device.handle)
        if end is None or device.energy_start is None or end < device.energy_start:
            return None
        return (end - device.energy_start) / 1000

    def _ask(self, function: Callable[[Any], T], handle: Any) -> T | None:
        """Call NVML; None where the device (a MIG slice, an old card) or the driver does not support it."""
        try:
            return function(handle)
        except self._nvml.NVMLError:
            return None


def as_text(value: str | bytes) -> str:
    """Old versions of `pynvml` return bytes where new ones return text."""
    return value.decode() if isinstance(value, bytes) else value
