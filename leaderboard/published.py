"""`published.yaml`: what papers, READMEs and logs report, with the protocol of each number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import InputError, nearest

PUBLISHED = Path(__file__).parent / "published.yaml"
PublishedKind = Literal["seed", "pseudo", "seg", "seg_crf", "test"]
SPLITS = {
    "voc": ("train", "train_aug", "val", "test"),
    # val_part: the first 5,000 images of val, on which MCC and ToCo validate during training.
    "coco": ("train", "val", "val_part"),
}
_CLASSES = {"voc": 21, "coco": 81}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Paper(_Strict):
    """Where numbers were published."""

    title: str
    authors: str | None = None
    venue: str
    year: Annotated[int, Field(ge=1990, le=2100)]
    link: str | None = Field(None, description="arXiv id or DOI")


class PublishedNumber(_Strict):
    """One published number.

    Attributes:
        value: mIoU in percent, as printed.
        table: number of the paper's table; None where the source at hand does not tell.
        chosen: how the background threshold of a seed was chosen; None where that is not stated.
        crf: whether the number includes a dense CRF; None where that is not stated.
        comparable: whether this repository's config of the method follows the same protocol; a difference
            is only given where it does.
        checked: False where the number was quoted from another place than its own and is to be verified.
        per_class: IoU in percent, background first, then the classes in the dataset's order.
    """

    number: PublishedKind
    split: str
    value: Annotated[float, Field(gt=0, lt=100)]
    source: Literal["paper", "README", "log", "issue", "quoted"]
    table: str | None = None
    threshold: float | None = None
    chosen: Literal["fixed", "best of sweep"] | None = None
    scales: Literal["single", "multi"] | None = None
    crf: bool | None = None
    comparable: bool = True
    checked: bool = True
    remark: str = ""
    per_class: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> PublishedNumber:
        if (self.number == "test") != (self.split == "test"):
            raise ValueError(f"number '{self.number}' cannot be on split '{self.split}'")
        if self.number == "seg_crf" and self.crf is False:
            raise ValueError("number 'seg_crf' without a CRF is number 'seg'")
        return self


class PublishedResult(_Strict):
    """Numbers of one method with one pipeline on one dataset.

    Attributes:
        method, variant: the config of this repository that stands for it (`methods/<method>/`).
        name: as the paper's tables call it.
        paper: key in `papers`.
        backbone: of the network that makes the CAMs.
        network: the final segmentation network with its backbone; None where there is none.
        supervision: beside image-level labels.
    """

    method: str
    variant: str | None = None
    name: str
    paper: str
    dataset: Literal["voc", "coco"]
    backbone: str
    network: str | None = None
    supervision: Literal["image", "image + saliency", "image + CLIP", "image + CLIP + SAM"] = "image"
    numbers: Annotated[tuple[PublishedNumber, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _of_the_dataset(self) -> PublishedResult:
        for number in self.numbers:
            if number.split not in SPLITS[self.dataset]:
                hint = nearest(number.split, SPLITS[self.dataset])
                raise ValueError(f"{self.dataset} has no split '{number.split}'{hint}")
            if number.per_class and len(number.per_class) != _CLASSES[self.dataset]:
                raise ValueError(
                    f"per_class has {len(number.per_class)} values, {self.dataset} has "
                    f"{_CLASSES[self.dataset]} classes"
                )
        return self


class Published(_Strict):
    """All published numbers."""

    methods: dict[str, str] = Field(description="method ids and their names")
    papers: dict[str, Paper]
    results: tuple[PublishedResult, ...]

    @model_validator(mode="after")
    def _names_are_known(self) -> Published:
        for result in self.results:
            for word, known, what in (
                (result.method, self.methods, "method"),
                (result.paper, self.papers, "paper"),
            ):
                if word not in known:
                    raise ValueError(f"'{result.name}': there is no {what} '{word}'{nearest(word, known)}")
        return self

    def of_dataset(self, dataset: str) -> tuple[PublishedResult, ...]:
        """Results on a dataset, in the file's order."""
        return tuple(result for result in self.results if result.dataset == dataset)


def read_published(path: Path = PUBLISHED) -> Published:
    """Read and check the published numbers.

    Raises:
        InputError: the file cannot be read, or says something that makes no sense.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the published numbers {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no YAML: {reason}; correct it") from error
    try:
        return Published.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = _place(document, first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path.name}: {place}{message}; correct that entry") from error


def _place(document: object, location: tuple[int | str, ...]) -> str:
    """`results.3 (VWE on voc).numbers.0.value: `, so that the entry is found without counting."""
    parts = [str(part) for part in location]
    if len(location) > 1 and location[0] == "results" and isinstance(document, dict):
        entry = document["results"][location[1]]
        if isinstance(entry, dict):
            parts[1] += f" ({entry.get('name')} on {entry.get('dataset')})"
    return ".".join(parts) + ": " if parts else ""
