"""Records of runs that never took place, for tests of what is made from records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from harness.hardware import Hardware
from harness.monitor import Measurements
from harness.record import (
    CodeRecord,
    DatasetRecord,
    EnvironmentRecord,
    RunRecord,
    StageRecord,
    WeightsRecord,
)
from harness.report import Metric, Protocol, Report


def metric(
    number: str, value: float, chosen: str = "none", threshold: float | None = None, split: str | None = None
) -> Metric:
    """A number with a protocol, on the split that the number is usually about."""
    split = split or ("train" if number in ("seed", "pseudo") else "val")
    protocol = Protocol.model_validate(
        {"dataset": "voc", "split": split, "images": 1449, "ground_truth": "official", "threshold": chosen}
    )
    return Metric.model_validate(
        {
            "number": number,
            "value": value,
            "threshold": threshold,
            "per_class": {"background": value, "cow": None},
            "excluded": ["cow"],
            "protocol": protocol,
        }
    )


def stage(name: str, *metrics: Metric, seconds: float = 60.0, **changes: Any) -> StageRecord:
    """A finished stage."""
    measurements = Measurements(
        wall_seconds=seconds,
        host_memory_peak_bytes=changes.pop("memory", 1 << 30),
        host_memory_kind="pss",
        gpu_energy_joules=changes.pop("joules", None),
        bytes_written=None,
        bytes_written_source=None,
        samples=1,
        sampling_cpu_seconds=0.0,
    )
    key = changes.pop("key", f"key of {name}")
    report = Report(stage=name, key=key, seconds=seconds, metrics=list(metrics), measurements=measurements)
    fields = {"type": "evaluate", "key": key, "state": "done", "artifact": f"artifacts/{key}", **changes}
    return StageRecord(name=name, report=report, **fields)


def record(*stages: StageRecord, **changes: Any) -> RunRecord:
    """A finished full run on the official data, unless `changes` say otherwise."""
    dataset = {"name": "voc", "fingerprint": "f0", "official": True} | changes.pop("dataset", {})
    fields: dict[str, Any] = {
        "run_id": "20210101-000000-vwe-voc-0000",
        "method": "vwe",
        "dataset": DatasetRecord(**dataset, images={"val": 1449}, split_sizes={"val": 1449}),
        "config": {"stages": {}},
        "seed": 0,
        "code": CodeRecord(version="0", source_hash="s0"),
        "environment": EnvironmentRecord(executor="local", identity="e0", python="3.11", packages={}),
        "hardware": Hardware(
            cpu="CPU",
            cores=2,
            usable_cpus=2,
            memory_bytes=8 << 30,
            gpus=[],
            gpu_driver=None,
            cuda=None,
            os="Debian",
            kernel="6",
            architecture="x86_64",
        ),
        "weights": [WeightsRecord(name="resnet50", sha256="w0")],
        "stages": list(stages),
        "started": datetime(2021, 1, 1, tzinfo=UTC),
        "ended": datetime(2021, 1, 2, tzinfo=UTC),
        "state": "done",
        **changes,
    }
    return RunRecord(**fields)
