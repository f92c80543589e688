"""What a stage's config may say: one typed model per stage type.

These models are the reference for everything after `stages.<name>.` in a config or in `--set`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    model_validator,
)

Number = Literal["seed", "pseudo", "seg", "seg_crf", "loc"]
_TYPE = re.compile(r"(?:(?:mmengine|mmcv|mmseg)\.)?[A-Za-z_]\w*")


def _registered(component: dict[str, Any]) -> dict[str, Any]:
    """Check that every `type` in a component is a name that a registry may have.

    mmengine's registries take a name with dots as the address of any Python object, such as `os.system`.
    """
    waiting: list[Any] = [component]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            kind = node.get("type", "")
            if isinstance(kind, str) and kind and not _TYPE.fullmatch(kind):
                raise ValueError(f"type is '{kind}', which is no name of a registered component")
            waiting.extend(node.values())
        elif isinstance(node, list | tuple):
            waiting.extend(node)
    return component


Component = Annotated[dict[str, Any], AfterValidator(_registered)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Weights(_Strict):
    """Initial weights: an entry of `methods/weights.yaml` and where in the model it goes."""

    name: str
    target: str = Field("", description="submodule that receives the tensors; empty for the whole model")
    allow_missing: list[str] = Field(
        [], description="prefixes of tensors that the file need not hold (new layers)"
    )


class Init(_Strict):
    """Initial values from the checkpoint of an earlier stage of the same plan."""

    stage: str
    source: str = Field("", description="prefix in the checkpoint, with its dot")
    target: str = Field("", description="submodule that receives the tensors; empty for the whole model")


class DataLoader(_Strict):
    """How training samples are loaded."""

    batch_size: Annotated[int, Field(ge=1)]
    num_workers: int | None = Field(
        None, ge=0, description="worker processes; default: all cores, or 1 where no GPU trains"
    )


class TrainConfig(_Strict):
    """Length of a training, in epochs or in iterations, and how often it is saved."""

    max_epochs: int | None = Field(None, ge=0)
    max_iters: int | None = Field(None, ge=0)
    checkpoint_interval: int = Field(200, ge=1, description="iterations between two points of resumption")
    keep_epochs: list[int] = Field([], description="epochs whose checkpoint is kept beside the last one")
    compile: str = Field(
        "",
        description="part of the model, such as 'backbone', that goes through torch.compile; it then rounds "
        "otherwise, and its dropout draws other numbers",
    )
    log_interval: int = Field(20, ge=1, description="iterations between two lines of the log")
    log_to: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        ["tensorboard"], description="tools that get the curves; --log-to adds to them"
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.max_epochs is None) == (self.max_iters is None):
            raise ValueError("give one of max_epochs and max_iters")
        return self


class Sweep(_Strict):
    """A grid of background thresholds, both ends included."""

    start: float
    stop: float
    step: Annotated[float, Field(gt=0)]
    stop_at_drop: bool = Field(
        False,
        description="choose before the first threshold that does not improve, as WeakTr and SemPLeS do; "
        "default: among all",
    )

    @model_validator(mode="after")
    def _ascends(self) -> Sweep:
        if self.stop < self.start:
            raise ValueError(f"stop ({self.stop:g}) lies below start ({self.start:g})")
        return self


class ValidationOutput(_Strict):
    """One prediction that is scored while a network trains."""

    inference: Component
    map: str | None = Field(None, description="which of the maps that the inference makes in one pass")
    threshold: float | None = Field(None, description="background threshold for CAMs")
    sweep: Sweep | None = Field(None, description="thresholds to try; the best one counts")

    @model_validator(mode="after")
    def _one_threshold(self) -> ValidationOutput:
        if self.threshold is not None and self.sweep is not None:
            raise ValueError("give one of threshold and sweep")
        return self


class Validation(_Strict):
    """Scoring of a network against ground truth while it trains."""

    split: str
    interval: int | None = Field(None, ge=1, description="iterations between two validations")
    epochs: int | None = Field(None, ge=1, description="epochs between two validations")
    images: int | None = Field(None, ge=1, description="score that many images of the split, evenly spread")
    outputs: dict[str, ValidationOutput] = Field(description="what is scored, by name", min_length=1)
    best: str | None = Field(
        None, description="output by whose mIoU the checkpoint is chosen; default: the last"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Validation:
        if (self.interval is None) == (self.epochs is None):
            raise ValueError("give one of interval and epochs")
        if self.best is not None and self.best not in self.outputs:
            raise ValueError(f"best is '{self.best}', but the outputs are {', '.join(self.outputs)}")
        return self


class StageConfig(_Strict):
    """What every stage has."""

    split: str

    def inputs(self) -> dict[str, str]:
        """Names of the stages whose artifacts this one reads, by role."""
        return {}

    def compared_split(self) -> str | None:
        """The split whose ground truth is read, if any."""
        return None

    def splits(self) -> list[str]:
        """All splits that are read."""
        return list(dict.fromkeys(filter(None, [self.split, self.compared_split()])))


class TrainStage(StageConfig):
    """Train a network; the artifact is a checkpoint."""

    type: Literal["train"]
    labels: str = Field(
        "image",
        description="'image' (image-level labels), 'mask' (full supervision) or a stage that makes masks or "
        "soft masks",
    )
    auxiliary: list[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]] = Field(
        [], description="names of gray maps that come with the images, such as saliency; see docs/data.md"
    )
    model: Component
    weights: Weights | None = None
    init: Init | list[Init] | None = Field(
        None, description="one stage, or a list of stages that fill different parts"
    )
    transform: Component
    train_dataloader: DataLoader
    optim_wrapper: Component
    param_scheduler: Component
    train_cfg: TrainConfig
    validation: Validation | None = None

    def compared_split(self) -> str | None:
        return self.validation.split if self.validation else None

    def inputs(self) -> dict[str, str]:
        found = {} if self.labels in ("image", "mask") else {"labels": self.labels}
        return found | {role: init.stage for role, init in self.inits().items()}

    def inits(self) -> dict[str, Init]:
        """The earlier stages that initial values come from, by role: `init`, `init_2`, `init_3`, …"""
        given = self.init if isinstance(self.init, list) else [self.init] if self.init else []
        return {f"init_{number}" if number > 1 else "init": init for number, init in enumerate(given, 1)}


class InferStage(StageConfig):
    """Run a trained network over a split; the artifact holds scores."""

    type: Literal["infer"]
    checkpoint: str
    epoch: int | None = Field(None, ge=1, description="use the checkpoint of this epoch, not the last one")
    inference: Component

    def inputs(self) -> dict[str, str]:
        return {"checkpoint": self.checkpoint}


class RefineStage(StageConfig):
    """Turn scores into masks, with or without a trained network; or images into masks, with one."""

    type: Literal["refine"]
    scores: str | None = None
    checkpoint: str | None = None
    refiner: Component
    output: Literal["masks", "soft_masks"] = Field(
        "masks", description="what the refiner makes: masks, or probabilities of the classes for a training"
    )

    @model_validator(mode="after")
    def _some_input(self) -> RefineStage:
        if self.scores is None and self.checkpoint is None:
            raise ValueError("give scores, a checkpoint, or both")
        return self

    def inputs(self) -> dict[str, str]:
        given = {"scores": self.scores, "checkpoint": self.checkpoint}
        return {role: stage for role, stage in given.items() if stage is not None}


class EvaluateStage(StageConfig):
    """Compare scores or masks with the ground truth; the artifact holds the metrics."""

    type: Literal["evaluate"]
    scores: str | None = None
    masks: str | None = None
    metric: Literal["mIoU", "localization"] = Field(
        "mIoU", description="masks against masks, or boxes around what class maps show against boxes"
    )
    number: Number = Field(description="which number of the leaderboard this is")
    threshold: float | None = Field(None, description="the method's fixed background threshold for CAMs")
    sweep: Sweep | None = Field(None, description="thresholds to try; the best one is reported too")

    @model_validator(mode="after")
    def _one_source(self) -> EvaluateStage:
        if (self.scores is None) == (self.masks is None):
            raise ValueError("give one of scores and masks")
        if self.masks is not None and (self.sweep is not None or self.threshold is not None):
            raise ValueError("masks have no background threshold: remove sweep and threshold")
        if (self.metric == "localization") != (self.number == "loc"):
            raise ValueError("number 'loc' goes with metric 'localization', and only with it")
        if self.metric == "localization" and (self.scores is None or self.sweep is None):
            raise ValueError("localization needs scores and a sweep of thresholds")
        return self

    def compared_split(self) -> str | None:
        return None if self.metric == "localization" else self.split

    def inputs(self) -> dict[str, str]:
        return {"scores": self.scores} if self.scores else {"masks": str(self.masks)}


class ForeignImage(_Strict):
    """An image of any ancestry that makes a stage's output; see docs/stage-contract.md."""

    image: str = Field(description="as Docker names it: tag, or repository@digest", min_length=1)
    command: list[str] = Field([], description="what gets the path of stage.json; default: the image's own")


class ForeignStage(StageConfig):
    """A stage that an image without our code makes; what it is told in `settings` is its own matter."""

    type: Literal["train", "infer", "refine"]
    foreign: ForeignImage
    reads: dict[str, str] = Field({}, description="stages whose artifacts it reads, by role")
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known_roles(self) -> ForeignStage:
        for role in self.reads:
            if role not in INPUT_KIND:
                raise ValueError(f"reads names the role '{role}'; the roles are {', '.join(INPUT_KIND)}")
        return self

    def inputs(self) -> dict[str, str]:
        return dict(self.reads)


def _stage_tag(stage: Any) -> str | None:
    """Which model a stage's config is for: `foreign`, or its type."""
    if isinstance(stage, BaseModel):
        return "foreign" if isinstance(stage, ForeignStage) else str(getattr(stage, "type", None))
    if not isinstance(stage, dict) or not isinstance(stage.get("type"), str):
        return None
    return "foreign" if "foreign" in stage else str(stage["type"])


AnyStage = Annotated[
    Annotated[TrainStage, Tag("train")]
    | Annotated[InferStage, Tag("infer")]
    | Annotated[RefineStage, Tag("refine")]
    | Annotated[EvaluateStage, Tag("evaluate")]
    | Annotated[ForeignStage, Tag("foreign")],
    Discriminator(
        _stage_tag,
        custom_error_type="stage_type",
        custom_error_message="type must be one of train, infer, refine, evaluate",
    ),
]
STAGE: TypeAdapter[AnyStage] = TypeAdapter(AnyStage)
STAGE_TYPES: dict[str, type[StageConfig]] = {
    "train": TrainStage,
    "infer": InferStage,
    "refine": RefineStage,
    "evaluate": EvaluateStage,
    "foreign": ForeignStage,
}
OutputKind = Literal["checkpoint", "scores", "masks", "soft_masks", "metrics"]
OUTPUT_KIND: dict[str, OutputKind] = {
    "train": "checkpoint",
    "infer": "scores",
    "refine": "masks",
    "evaluate": "metrics",
}
INPUT_KIND = {
    "labels": "masks",
    "init": "checkpoint",
    "checkpoint": "checkpoint",
    "scores": "scores",
    "masks": "masks",
}


def input_kind(role: str) -> str:
    """The kind of artifact that a role takes; `init_2` takes what `init` does.

    Raises:
        KeyError: there is no such role.
    """
    return INPUT_KIND["init" if role.startswith("init_") else role]


def output_kind(stage: StageConfig) -> OutputKind:
    """The kind of artifact that a stage makes."""
    if isinstance(stage, RefineStage):
        return stage.output
    assert isinstance(stage, TrainStage | InferStage | EvaluateStage | ForeignStage)
    return OUTPUT_KIND[stage.type]


def takes(stage: StageConfig, role: str, kind: str) -> bool:
    """Whether a stage reads an artifact of this kind under a role; a training takes soft masks, too."""
    soft = isinstance(stage, TrainStage) and role == "labels" and kind == "soft_masks"
    return soft or kind == input_kind(role)


class DatasetConfig(_Strict):
    """Which dataset a config is for."""

    name: str
    num_classes: Annotated[int, Field(ge=1, description="classes without background")]
    labels: Literal["annotations", "masks"] = Field(
        "annotations",
        description="where image-level labels come from: annotated objects, or the classes in the masks",
    )


class MethodConfig(_Strict):
    """A whole method config after inheritance and overrides."""

    title: str = ""
    dataset: DatasetConfig
    custom_imports: list[str] = []
    stages: dict[str, AnyStage]
