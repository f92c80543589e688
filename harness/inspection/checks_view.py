"""What a user sees of a verification: a line per split while it runs, then a table and sentences."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from harness.data.fingerprint import OnProgress
from harness.inspection.check import Check, State
from harness.progress import Progress
from harness.watch import Watch

_STYLES: dict[State, str] = {"ok": "green", "note": "yellow", "wrong": "bold red"}
_NAMED = 5  # sentences per check; the others are counted


def reading(watch: Watch) -> OnProgress:
    """Return what is told (done, total) of the files of a running step, one kind of files after the other."""
    start, last, began = 0, 0, time.time()

    def on_progress(done: int, total: int) -> None:
        nonlocal start, last, began
        if done <= last or not last:
            start, began = done, time.time()
        last = done
        watch.show(Progress(done, total, "files", start, began))

    return on_progress


def outcome(checks: Sequence[Check]) -> str:
    """Return what a step's line ends with."""
    wrong = [check.name for check in checks if check.state == "wrong"]
    return f"wrong: {', '.join(wrong)}" if wrong else "all well"


def checks_table(checks: Sequence[Check], title: str) -> Table:
    """Return the table of all checks."""
    table = Table("check", "split", "found", "expected", "state", title=title)
    for column in (2, 3):
        table.columns[column].justify = "right"
    for check, after in zip(checks, [*checks[1:], None]):
        state = f"[{_STYLES[check.state]}]{check.state}[/]"
        table.add_row(check.name, check.split, check.found, check.expected, state)
        if after and after.split != check.split:
            table.add_section()
    return table


def print_findings(console: Console, checks: Sequence[Check]) -> None:
    """Print the sentences of all checks, problems first, a few of each and the number of the others."""
    kinds: tuple[State, ...] = ("wrong", "note")
    for kind in kinds:
        for check in checks:
            found = check.problems if kind == "wrong" else check.notes
            if found:
                title = f"\n{kind}: {check.name} of {check.split}"
                console.print(title, style=_STYLES[kind], highlight=False)
            for sentence in _shortened(found):
                console.print(f"  - {sentence}", markup=False, highlight=False, soft_wrap=True)


def _shortened(sentences: Sequence[str]) -> Iterator[str]:
    # One more than named is as short as saying so.
    named = len(sentences) if len(sentences) <= _NAMED + 1 else _NAMED
    yield from sentences[:named]
    if others := len(sentences) - named:
        yield f"and {others:,} more like it"
