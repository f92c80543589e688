"""`stage.json`: all that a stage process is told. The public contract between plan side and stage side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CONTRACT = 1


class DatasetRequest(BaseModel):
    """Where a dataset is and which of its images the run uses."""

    name: str
    root: Path
    num_classes: int = Field(description="classes without background")
    labels: Literal["annotations", "masks"] = Field(
        "annotations", description="where image-level labels come from"
    )
    ids: dict[str, list[str]] = Field(description="image ids per split that this stage may use")


class RunLabel(BaseModel):
    """Names for logs, which no output may depend on: another run may reuse it."""

    run_id: str
    method: str
    variant: str | None = None
    mlruns: Path | None = Field(None, description="MLflow's file store, for a training that logs to it")


class StageRequest(BaseModel):
    """The content of `stage.json`. Paths are absolute and the same inside and outside a container."""

    model_config = ConfigDict(extra="forbid")

    contract: Literal[1] = 1
    stage: str = Field(description="name in the config")
    type: Literal["train", "infer", "refine", "evaluate"]
    key: str
    config: dict[str, Any] = Field(description="the stage's resolved config")
    custom_imports: list[str] = Field([], description="modules that register what the config names")
    dataset: DatasetRequest
    auxiliary: dict[str, Path] = Field(
        {}, description="folders of maps by name; a map per image of the split"
    )
    inputs: dict[str, Path] = Field({}, description="artifact folders by role")
    weights: Path | None = Field(None, description="file of initial weights; null: random numbers")
    weights_layout: str | None = Field(None, description="converter for the weights file")
    seed: int = 0
    smoke: bool = False
    run: RunLabel | None = Field(None, description="the run that it is started for; for logs only")
    log_to: list[str] = Field([], description="tools that a training logs to, beside those of its config")
    workers: int = Field(1, ge=1, description="processes for work on the CPU")
    gpus: int = Field(0, ge=0, description="GPUs that the stage may use; they are numbered from 0")
    processes: int = Field(
        1, ge=1, description="processes that share a training, or the images of a network; one per GPU"
    )
