"""What a user sees while a dataset is prepared, and afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.table import Table

from harness.data.recipe import Prepared
from harness.progress import Progress
from harness.watch import Watch


class PreparationView:
    """Tells the steps of a preparation: a bar with ETA in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._watch: Watch | None = None
        self._began = 0.0
        self._start: int | None = None

    def __enter__(self) -> PreparationView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch:
            self._watch.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Tell something that is no step."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def plan(self, names: Sequence[str]) -> None:
        """The steps to come."""
        self._watch = Watch(self._console, list(names)).__enter__()

    def begin(self, name: str, what: str) -> None:
        """The next step starts."""
        self._began, self._start = time.time(), None
        if self._watch:
            self._watch.begin(name, what)

    def progress(self, done: int, total: int, unit: str) -> None:
        """The running step got this far; what is done at its first word was done before it."""
        if self._start is None:
            self._start = done
        if self._watch:
            self._watch.show(Progress(done, total, unit, self._start, self._began))

    def end(self, outcome: str) -> None:
        """The running step ended."""
        if self._watch:
            self._watch.end(outcome)


def prepared_table(prepared: Prepared, dataset: str) -> Table:
    """The splits that are there now."""
    table = Table("split", "images", "masks", "list", title=f"{dataset} in {prepared.folder}")
    for row in prepared.rows:
        table.add_row(
            row.split,
            f"{row.images:,}",
            f"{row.masks:,}" if row.masks else "-",
            "official" if row.official else "custom",
        )
    return table


def next_steps(prepared: Prepared, dataset: str) -> list[str]:
    """Sentences on what was left out, what is kept, and what to type next."""
    lines = list(prepared.left_out)
    if prepared.archives:
        size = sum(path.stat().st_size for path in prepared.archives) / 1e9
        lines.append(
            f"{prepared.archives[0].parent} keeps {len(prepared.archives)} archives ({size:.1f} GB), which "
            "are not needed any more"
        )
    return [
        *lines,
        f"next: harness data verify {dataset} --root {prepared.folder}",
        f"      harness run --method cam --dataset {dataset} --data-root {prepared.folder}",
    ]
