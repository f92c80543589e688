"""Are the lists the official ones, and do they go together?"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.data.dataset import Dataset
from harness.data.voc import read_id_list
from harness.errors import InputError
from harness.inspection.check import Check, expected_ids, some


def find_references(folder: Path, splits: Sequence[str]) -> dict[str, Path]:
    """Return the lists in a folder that splits are to be compared with.

    Raises:
        InputError: it has none.
    """
    found = {split: folder / f"{split}.txt" for split in splits if (folder / f"{split}.txt").is_file()}
    if not found:
        names = ", ".join(f"{split}.txt" for split in splits)
        raise InputError(f"there is no list to compare with in {folder}: put {names} there")
    return found


def check_list(dataset: Dataset, split: str, reference: Path | None = None) -> Check:
    """Compare a split's list with the official one, a reference, and where these differ with the masks.

    Raises:
        InputError: the reference cannot be read.
    """
    expected = expected_ids(dataset, split)
    path = dataset.list_path(split)
    if not dataset.has_list(split):
        sentence = f"there is no list {path}: `harness data prepare` makes it"
        return Check("list", split, "absent", expected, [sentence])
    try:
        ids = dataset.ids(split)
    except InputError as error:
        return Check("list", split, "unusable", expected, [str(error)])
    problems = []
    official = dataset.official_splits.get(split)
    if official and not dataset.has_official_ids(split):
        problems.append(
            f"the list {path} is not the official one, which has {official.images:,} ids: replace it, "
            "or take the data as custom"
        )
        masks = dataset.ids_with_masks(split)
        problems += _differences(path, ids, masks, "that have masks", "without a mask")
    if reference:
        others = read_id_list(reference, f"the reference of split '{split}'")
        problems += _differences(path, ids, {*others}, f"of {reference}", f"not in {reference}")
    return Check("list", split, f"{len(ids):,} ids", expected, problems)


def check_overlaps(dataset: Dataset, splits: Sequence[str]) -> list[Check]:
    """Look for images that splits must not share, and for those of train that train_aug lacks."""
    ids: dict[str, set[str]] = {}
    for split in splits:
        with contextlib.suppress(InputError):  # told by `check_list`
            if dataset.has_list(split):
                ids[split] = {*dataset.ids(split)}
    checks = []
    for training, held_out in itertools.product(("train", "train_aug"), ("val", "val_all", "test")):
        if training in ids and held_out in ids:
            shared = sorted(ids[training] & ids[held_out])
            sentence = (
                f"{dataset.list_path(training)} and {dataset.list_path(held_out)} share {some(shared)}, so "
                "that one evaluates on what one trained on: replace the list that is wrong"
            )
            found = f"{len(shared):,} shared"
            problems = [sentence] if shared else []
            checks.append(Check("overlap", f"{training}, {held_out}", found, "0 shared", problems))
    if "train" in ids and "train_aug" in ids:
        outside = sorted(ids["train"] - ids["train_aug"])
        sentence = (
            f"{dataset.list_path('train_aug')} lacks {some(outside)} of train, which get no CAMs to "
            "evaluate: replace the list"
        )
        found = f"{len(outside):,} outside"
        checks.append(Check("subset", "train, train_aug", found, "0 outside", [sentence] if outside else []))
    return checks


def _differences(
    path: Path, ids: Iterable[str], others: set[str] | None, theirs: str, lacking: str
) -> Iterator[str]:
    """Yield what a list lacks of other ids and what it has beyond them; nothing where they are not known."""
    if not others:
        return
    if missing := sorted(others - {*ids}):
        yield f"the list {path} lacks {some(missing)} {theirs}: add them or replace the list"
    if added := sorted({*ids} - others):
        yield f"the list {path} has {some(added)} {lacking}: remove them or complete the dataset"
