"""What runs cost: time, throughput, memory, energy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field

from harness.hardware import Hardware
from harness.record import RunRecord, StageRecord
from harness.report import Report


class Costs(BaseModel):
    """What one run costs, mean over the runs of an entry on the same hardware; peaks are the highest.

    Stages that a run reused count with what they cost when they were executed. None is "not measured".
    """

    model_config = ConfigDict(frozen=True)

    hardware: str = Field(description="GPUs or, without any, the CPU")
    runs: int = Field(description="runs that the means are over")
    seconds: float = Field(description="wall time of all stages, killed processes included")
    gpu_seconds: float | None = Field(description="seconds of the stages that had a GPU, times GPUs")
    train_images_per_second: float | None = Field(description="over all trainings, in their steady state")
    infer_images_per_second: float | None = Field(description="over all inference stages, likewise")
    gpu_memory_peak_bytes: int | None
    host_memory_peak_bytes: int | None
    gpu_energy_joules: float | None


def hardware_name(hardware: Hardware) -> str:
    """`2 x NVIDIA H200`, or `AMD EPYC (2 CPUs)` for a machine without a GPU."""
    if hardware.gpus:
        return ", ".join(
            f"{count} x {name}" for name, count in Counter(gpu.name for gpu in hardware.gpus).items()
        )
    return f"{hardware.cpu} ({hardware.usable_cpus} CPUs)"


def costs_of(records: Sequence[RunRecord]) -> Costs:
    """Costs of the runs on the hardware that most of them ran on, the latest of several."""
    latest = sorted(records, key=lambda record: record.started, reverse=True)
    counts = Counter(hardware_name(record.hardware) for record in latest)
    hardware = max(counts, key=lambda name: counts[name])  # the first, hence latest, of equals
    chosen = [record for record in latest if hardware_name(record.hardware) == hardware]
    reports = [_reports(record) for record in chosen]
    return Costs(
        hardware=hardware,
        runs=len(chosen),
        seconds=fmean(sum(report.seconds for report in run) for run in reports),
        gpu_seconds=_mean([_gpu_seconds(run) for run in reports]),
        train_images_per_second=_mean([_throughput(record, "train") for record in chosen]),
        infer_images_per_second=_mean([_throughput(record, "infer") for record in chosen]),
        gpu_memory_peak_bytes=_highest(
            [report.measurements.gpu_memory_peak_bytes for run in reports for report in run]
        ),
        host_memory_peak_bytes=_highest(
            [report.measurements.host_memory_peak_bytes for run in reports for report in run]
        ),
        gpu_energy_joules=_mean([_energy(run) for run in reports]),
    )


def stage_gpus(report: Report) -> int:
    """GPUs that a stage had; of an older or foreign report, its counters tell whether there was one."""
    measured = report.measurements
    if measured.gpus is not None:
        return measured.gpus
    known = (measured.gpu_memory_peak_bytes, measured.gpu_utilisation_percent, measured.gpu_energy_joules)
    return int(any(value is not None for value in known))


def _reports(record: RunRecord) -> list[Report]:
    return [stage.report for stage in record.stages if stage.report]


def _gpu_seconds(reports: Sequence[Report]) -> float | None:
    if not any(stage_gpus(report) for report in reports):
        return None
    return sum(report.seconds * stage_gpus(report) for report in reports)


def _throughput(record: RunRecord, stage_type: str) -> float | None:
    """All images of the stages of a type over the time that they take at each stage's steady rate."""
    images, seconds = 0, 0.0
    for stage in record.stages:
        if stage.type == stage_type and (rate := _rate(stage)) and stage.report:
            images += stage.report.images
            seconds += stage.report.images / rate
    return images / seconds if seconds else None


def _rate(stage: StageRecord) -> float | None:
    return stage.report.images_per_second if stage.report else None


def _energy(reports: Sequence[Report]) -> float | None:
    known = [joules for report in reports if (joules := report.measurements.gpu_energy_joules) is not None]
    return sum(known) if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _highest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value), default=None)
