"""What a user sees while stages run: a live bar with ETA in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from harness import progress as stage_progress

_PLAIN_INTERVAL = 15.0  # seconds between two lines when the output is no terminal


def duration(seconds: float | None) -> str:
    """`75.4` → `1:15`; `None` → `-`."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Watch:
    """Shows the stages of a run, one line each."""

    def __init__(self, console: Console, names: list[str]) -> None:
        self._console = console
        self._width = max(map(len, names), default=0)
        self._count = len(names)
        self._position = 0
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._began = 0.0
        self._printed = 0.0

    def __enter__(self) -> Watch:
        if self._console.is_terminal:
            self._live = Progress(
                SpinnerColumn(finished_text=" "),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}  {task.fields[clock]}  [dim]{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, name: str, what: str) -> None:
        """A stage starts."""
        self._position += 1
        self._name, self._began = name, time.monotonic()
        self._printed = self._began
        if self._live:
            self._task = self._live.add_task(
                self._label(), total=None, unit="", clock="", note=f"{what}: starting"
            )
        else:
            self._print(f"{what} …")

    def show(self, state: stage_progress.Progress) -> None:
        """The running stage got this far."""
        now = time.monotonic()
        clock = f"{duration(now - self._began)} gone, {duration(state.eta)} to go"
        if self._live and self._task is not None:
            self._live.update(
                self._task,
                completed=state.done,
                total=state.total,
                unit=state.unit,
                clock=clock,
                note=state.note,
            )
        elif now - self._printed >= _PLAIN_INTERVAL:
            self._printed = now
            self._print(f"{state.done}/{state.total} {state.unit}, {clock}, {state.note}".rstrip(", "))

    def end(self, outcome: str) -> None:
        """The running stage ended."""
        if self._live and self._task is not None:
            self._live.remove_task(self._task)
            self._task = None
        self._print(outcome)

    def skip(self, name: str, outcome: str) -> None:
        """A stage needs no execution."""
        self._position += 1
        self._name = name
        self._print(outcome)

    def _label(self) -> str:
        return f"[{self._position:>2}/{self._count}] {self._name:<{self._width}}"

    def _print(self, text: str) -> None:
        self._console.print(f"{self._label()}  {text}", markup=False, highlight=False, soft_wrap=True)
