"""Checks of what runs need besides the machine: datasets and weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.config import METHODS
from harness.data import DATASETS, open_dataset
from harness.doctor.finding import Finding
from harness.errors import InputError, nearest
from harness.weights import Weights, cache_folder, content_sha256


def check_datasets(given: Mapping[str, Path]) -> Iterator[Finding]:
    """The datasets whose folders are given; shapes needs none.

    Raises:
        InputError: there is no dataset of a name.
    """
    for name in given:
        if name not in DATASETS:
            raise InputError(
                f"there is no dataset '{name}'{nearest(name, DATASETS)}; "
                f"the datasets are {', '.join(DATASETS)}"
            )
    for name in DATASETS:
        subject = f"data ({name})"
        if name in given:
            yield _dataset(subject, name, given[name])
        elif name != "shapes":
            yield Finding(subject, "absent", "no folder given", f"harness doctor --data {name}=FOLDER")


def _dataset(subject: str, name: str, root: Path) -> Finding:
    try:
        dataset = open_dataset(name, root)
        sizes = {split: len(dataset.ids(split)) for split in ("train", "val")}
        for split in sizes:
            dataset.check([split], masks_for=[split])
    except InputError as error:
        prepare = "" if name == "shapes" else f"harness data prepare {name} --root {root}"
        return Finding(subject, "problem", str(error), prepare)
    images = ", ".join(f"{split} {size}" for split, size in sizes.items())
    notes = f"; {'; '.join(dataset.notices)}" if dataset.notices else ""
    return Finding(subject, "ok", f"{images} images{notes}")


def check_weights(registry: Path = METHODS / "weights.yaml", cache: Path | None = None) -> Finding:
    """Which initial weights are in the cache, and whether they are whole."""
    weights, folder = Weights.load(registry), cache or cache_folder()
    there: list[str] = []
    broken: list[str] = []
    for name, entry in weights.entries.items():
        path = folder / entry.filename
        if path.is_file():
            whole = content_sha256(path, folder).startswith(entry.checksum)
            (there if whole else broken).append(name)
    if broken:
        return Finding(
            "weights",
            "problem",
            f"{', '.join(broken)} in {folder} do not have their checksum",
            f"harness weights fetch {broken[0]}",
        )
    found = f"{len(there)} of {len(weights.entries)} in {folder}"
    if not there:
        return Finding("weights", "absent", f"{found}: runs download theirs", "harness weights list")
    return Finding("weights", "ok", f"{found}; runs download theirs")
