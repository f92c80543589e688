"""The leaderboard as data: entries of repeated runs, their numbers beside the published ones, their ranks.

Every format and the site are made from a `Board`, and `--format json` is its JSON. `leaderboard.aggregate`
makes it from records.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.report import Metric, Protocol
from leaderboard.costs import Costs
from leaderboard.published import Paper, PublishedNumber, PublishedResult

# The split that a number is about unless its label says another one.
PRIMARY_SPLIT = {
    "seed": "train",
    "pseudo": "train",
    "seg": "val",
    "seg_crf": "val",
    "test": "test",
    "loc": "test",
}
NUMBERS = tuple(PRIMARY_SPLIT)
Chosen = Literal["fixed", "best of sweep", "none"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Column(_Frozen):
    """A kind of number that some entry of a dataset has, or the paper of one.

    Attributes:
        id: `seed_best`, `seed_fixed`, `pseudo`, `seg`, `seg_crf`, `test`; with the split behind it where that
            is not the usual one, as `pseudo_train_aug`.
        label: the same in words, as `pseudo train_aug`.
    """

    id: str
    label: str
    number: str
    split: str
    chosen: Chosen


class PaperValue(_Frozen):
    """A published number that stands beside ours; `value` is a fraction in [0, 1] as ours is.

    Attributes:
        name: of the result, as the paper's tables call it.
        network: the paper's final network.
        paper: key in `Board.papers`.
        number: the number with its protocol; `number.comparable` says whether our config follows that.
    """

    name: str
    network: str | None
    paper: str
    value: float
    number: PublishedNumber


class Cell(_Frozen):
    """One number of an entry over its runs; fractions in [0, 1].

    Attributes:
        values: per run id.
        std: sample standard deviation over the runs; None for a single one.
        thresholds: per run id; empty where the number has none.
        per_class: mean IoU over the runs; None where it is undefined.
        interval: 95 % bootstrap interval over images; None for the mean of several runs.
        protocol: of the first run; all runs of an entry share it.
        difference: ours minus the paper's, where the two are comparable.
        best: whether no ranked entry of the dataset reads higher in this column.
    """

    values: dict[str, float]
    mean: float
    std: float | None
    thresholds: dict[str, float]
    per_class: dict[str, float | None]
    interval: tuple[float, float] | None
    protocol: Protocol
    difference: float | None
    best: bool = False

    @property
    def n(self) -> int:
        """Runs that the mean is over."""
        return len(self.values)


class RunReference(_Frozen):
    """Which record a value comes from (`runs/<run_id>/record.json` in the work folder), and what it cost."""

    run_id: str
    seed: int
    started: datetime
    commit: str | None
    dirty: bool | None
    hardware: str
    executor: str
    costs: Costs


class Entry(_Frozen):
    """Runs that differ in nothing but the seed and the machine.

    Attributes:
        id: unique in the board, and the same as long as the setup is.
        network: the final segmentation network; None where there is no segmentation.
        setup: short hashes of `config`, `data`, `weights` and `code`.
        marks: why the runs are no full ones; entries with marks have no rank.
        notes: what tells the entry from others of the same method.
        rank: 1 for the best of the dataset; entries that read the same share it.
        cells: by `Column.id`; a number that was not computed has none.
        papers: the published values beside them, by `Column.id`; empty for entries with marks.
    """

    id: str
    method: str
    variant: str | None
    title: str
    network: str | None
    setup: dict[str, str]
    marks: tuple[str, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...] = ()
    rank: int | None = None
    runs: tuple[RunReference, ...]
    cells: dict[str, Cell]
    papers: dict[str, PaperValue]
    costs: Costs

    @property
    def name(self) -> str:
        """Method with its variant."""
        return self.method + (f" ({self.variant})" if self.variant else "")

    @property
    def remarks(self) -> tuple[str, ...]:
        """Marks and notes, and what was overridden in the place of the bare word."""
        overridden = tuple(f"--set {override}" for override in self.overrides)
        return tuple(mark for mark in self.marks if mark != "overrides") + overridden + self.notes


class DatasetBoard(_Frozen):
    """Entries on one dataset: ranked ones best first, then those that have no rank.

    Attributes:
        published: all published results on the dataset, of methods without runs too.
    """

    dataset: str
    columns: tuple[Column, ...]
    ranked: tuple[Entry, ...]
    unranked: tuple[Entry, ...]
    published: tuple[PublishedResult, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, in the order of the table."""
        return self.ranked + self.unranked


class Board(_Frozen):
    """The leaderboard: one table per dataset."""

    version: Literal[1] = 1
    datasets: tuple[DatasetBoard, ...]
    methods: dict[str, str] = Field(description="names of the methods with published numbers")
    papers: dict[str, Paper]

    def only(self, dataset: str) -> Board:
        """The board of one dataset."""
        chosen = tuple(table for table in self.datasets if table.dataset == dataset)
        return self.model_copy(update={"datasets": chosen})


def column_of(metric: Metric) -> Column:
    """The column that a metric belongs in."""
    return column(metric.number, metric.protocol.split, metric.protocol.threshold)


def published_column(number: PublishedNumber) -> Column:
    """The column that a published number is beside.

    A seed whose paper does not say how it chose the threshold is held to be that of the best one.
    """
    return column(
        number.number,
        number.split,
        (number.chosen or "best of sweep") if number.number == "seed" else "none",
    )


def column(number: str, split: str, chosen: Chosen) -> Column:
    """A column by what is in it."""
    primary = PRIMARY_SPLIT.get(number) == split
    words = {"best of sweep": "best", "fixed": "fixed", "none": ""}[chosen]
    label = "seg+CRF" if number == "seg_crf" else number
    return Column(
        id="_".join(filter(None, (number, words, "" if primary else split))),
        label=label + (f" ({words})" if words else "") + ("" if primary else f" {split}"),
        number=number,
        split=split,
        chosen=chosen,
    )


def sort_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Columns in the order of the pipeline, without repetitions: usual splits and best thresholds first."""
    unique = {column.id: column for column in columns}
    return tuple(
        sorted(
            unique.values(),
            key=lambda column: (
                column.split != PRIMARY_SPLIT[column.number],
                NUMBERS.index(column.number),
                column.split,
                column.chosen == "fixed",
            ),
        )
    )


def percent(fraction: float) -> float:
    """A fraction as the percentage that tables show; values that read the same rank the same."""
    return round(100 * fraction, 1)


def fraction(printed: float) -> float:
    """A printed percentage as a fraction, without the noise of a binary division."""
    return round(printed / 100, 6)
