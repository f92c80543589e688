"""One thing that was looked at in a dataset, and the words that checks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.data.dataset import Dataset
from harness.errors import InputError

State = Literal["ok", "note", "wrong"]

_NAMED = 3  # ids that a sentence names


@dataclass(frozen=True)
class Check:
    """One thing that was looked at in a split.

    Attributes:
        name: `list`, `overlap`, `subset`, `images`, `labels`, `masks`, `sizes`, `palette`, `content` or
            `derived`.
        split: a split, or two as in `train, val`.
        found, expected: what a table shows.
        problems: a sentence each, of what must be mended.
        notes: a sentence each, of what is unusual and changes no number.
    """

    name: str
    split: str
    found: str
    expected: str
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def state(self) -> State:
        """The worst that was found."""
        return "wrong" if self.problems else "note" if self.notes else "ok"


def whole_count(facts: Sequence[object]) -> str:
    """Return the number of facts that are neither errors nor absent, for a table."""
    return f"{sum(fact is not None and not isinstance(fact, InputError) for fact in facts):,} whole"


def sentences(facts: Sequence[object]) -> list[str]:
    """Return the sentences among facts, each once: many images may miss the same file."""
    return list(dict.fromkeys(str(fact) for fact in facts if isinstance(fact, InputError)))


def expected_ids(dataset: Dataset, split: str) -> str:
    """Return the official number of ids, for a table."""
    official = dataset.official_splits.get(split)
    return f"{official.images:,} ids" if official else "-"


def some(ids: Sequence[str]) -> str:
    """Return a number of ids with the first of them."""
    named = ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
    return f"{len(ids):,} {'id' if len(ids) == 1 else 'ids'} ({named})"
