"""`report.json`: what a stage measured, of itself and of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from harness.monitor import Measurements

Number = Literal["seed", "pseudo", "seg", "seg_crf", "loc"]


class Protocol(BaseModel):
    """What a number means. No number is reported without one."""

    metric: str = "mIoU"
    dataset: str
    split: str
    images: int = Field(description="images that the number is over")
    ground_truth: str = Field(description="which masks the predictions were compared with")
    threshold: Literal["fixed", "best of sweep", "none"] = "none"
    details: dict[str, Any] = Field({}, description="scales, flip, CRF and sweep, as configured")


class Quality(BaseModel):
    """How good predictions are, with the protocol; fractions in [0, 1]."""

    value: float
    threshold: float | None = None
    per_class: dict[str, float | None] = Field(description="IoU per class; null where it is undefined")
    precision: dict[str, float | None] = Field(
        default={}, description="TP / (TP + FP) per class; null as above"
    )
    recall: dict[str, float | None] = Field(default={}, description="TP / (TP + FN) per class; null as above")
    interval: tuple[float, float] | None = Field(
        default=None, description="95 % bootstrap interval of value over the images of the split"
    )
    boundary_iou: float | None = Field(
        default=None, description="mean boundary IoU over the classes that occur"
    )
    boundary_per_class: dict[str, float | None] = Field(default={}, description="boundary IoU; null as above")
    excluded: list[str] = Field(default=[], description="classes in neither ground truth nor prediction")
    pixel_accuracy: float | None = None
    mean_accuracy: float | None = None
    false_rates: dict[str, float | None] = Field(
        default={}, description="FP and FN rates of background and foreground"
    )
    localization: dict[str, float | None] = Field(
        default={},
        description="number loc: box accuracies and Top-1, Top-5 Loc; per_class is GT-known Loc then",
    )
    protocol: Protocol


class Metric(Quality):
    """One number of the leaderboard."""

    number: Number


class Report(BaseModel):
    """What one stage measured."""

    contract: Literal[1] = 1
    stage: str
    key: str
    seconds: float = Field(
        description="wall seconds over all processes that worked on it, killed ones included"
    )
    metrics: list[Metric] = []
    images: int = Field(0, description="images (training: samples) processed by this process")
    images_per_second: float | None = Field(None, description="steady state, first iterations excluded")
    resumed_at: int = Field(0, description="images or iterations found done when the process started")
    measurements: Measurements
    notes: list[str] = []
    curve: dict[str, list[float | None]] | None = Field(
        None,
        description="over a sweep: threshold, mIoU; fp_rate, fn_rate, precision, recall of the foreground",
    )
    losses: dict[str, list[float]] | None = Field(None, description="training: logged values over iterations")
    validation: dict[str, list[float | None]] | None = Field(
        None, description="training: mIoU of each scored output over iterations, and its threshold"
    )


def read_report(folder: Path) -> Report:
    """Read `report.json` of an artifact folder.

    Raises:
        ValueError: it is missing or not a report.
    """
    path = folder / "report.json"
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
