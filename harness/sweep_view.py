"""What a user sees of a sweep: a live table in a terminal, a line per change elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.watch import duration


@dataclass(frozen=True)
class RunView:
    """What is to be said of a run.

    Attributes:
        name: of what it is.
        state: one of the record's, or `waiting` or `starting`.
        note: how far it is, or why it failed.
        seconds: that it took; while it runs, that its stage has to go. None: not known.
    """

    name: str
    state: str
    note: str = ""
    seconds: float | None = None


class SweepView:
    """Shows the runs of a sweep, each with its state, and when all will be done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._said: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> SweepView:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, views: Sequence[RunView], eta: float | None) -> None:
        """Bring the table up to date, or print what has changed."""
        done = sum(view.state == "done" for view in views)
        summary = f"{done} of {len(views)} runs done, {duration(eta)} to go"
        if self._live:
            self._live.update(Group(sweep_table(views), Text(summary)))
            return
        for view in views:
            # Of what runs, the stage is told when it changes, not how far it is.
            said = (view.state, " ".join(view.note.split()[:3]) if view.state == "running" else "")
            if self._said.get(view.name) == said or (view.state == "waiting" and view.name not in self._said):
                continue
            self._said[view.name] = said
            words = [f"{view.name}: {view.state}", said[1] or ("" if view.state == "starting" else view.note)]
            time = f" after {duration(view.seconds)}" if view.state not in ("running", "starting") else ""
            text = ", ".join(filter(None, words)) + time
            if view.state == "done":
                text += f"; {summary}"
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def sweep_table(views: Sequence[RunView]) -> Table:
    """A row per run."""
    table = Table("run", "state", "what", "time")
    for view in views:
        time = "" if view.state in ("waiting", "starting") else duration(view.seconds)
        if view.state == "running" and view.seconds is not None:
            time += " to go"
        table.add_row(Text(view.name), Text(view.state), Text(view.note), Text(time))
    return table
