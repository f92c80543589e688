"""A stand-in for `pynvml` whose counters a test sets by hand."""

# ruff: noqa: N802 (the names are NVML's)

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace


class NVMLError(Exception):
    """What `pynvml` raises."""


@dataclass
class FakeGpu:
    """One GPU; a counter that is None is not supported.

    Args:
        memory: bytes in use.
        utilisation: percent.
        watts: present power.
        joules: since the driver was loaded.
    """

    uuid: str = "GPU-0"
    memory: int | None = 0
    utilisation: int | None = 0
    watts: float | None = 0.0
    joules: float | None = 0.0


class FakeNvml:
    """The functions of `pynvml` that the project calls; a handle is the `FakeGpu` itself."""

    NVMLError = NVMLError

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = gpus

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> bytes:
        return b"Fake GPU"

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> SimpleNamespace:
        return SimpleNamespace(used=self._supported(gpu.memory), total=16 << 30)

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._supported(gpu.utilisation), memory=0)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        return round(self._supported(gpu.watts) * 1000)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:
        return round(self._supported(gpu.joules) * 1000)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13010

    @staticmethod
    def _supported(value: float | None) -> float:
        if value is None:
            raise NVMLError("not supported")
        return value
