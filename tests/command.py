"""The `harness` command in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import PATIENCE

_TIMEOUT = 2 * PATIENCE  # seconds; far more than any command takes, so that a hanging one fails its test


@dataclass(frozen=True)
class Outcome:
    """What a finished command left."""

    status: int
    output: str
    errors: str

    @property
    def sentence(self) -> str:
        """The one line of standard error that a wrong input gives, without its `error: `."""
        lines = self.errors.splitlines()
        assert len(lines) == 1, f"not one line:\n{self.errors}\n{self.output}"
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")


@dataclass(frozen=True)
class Command:
    """Starts `harness ARGUMENTS` with a given environment."""

    env: Mapping[str, str]

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Outcome:
        """Run it to its end."""
        done = subprocess.run(
            self._line(arguments), env=self.env, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Start it as the leader of a process group, which is killed when the block ends."""
        with subprocess.Popen(
            self._line(arguments),
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A suite that was started in the background has its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    @staticmethod
    def _line(arguments: tuple[str | Path, ...]) -> list[str]:
        return [sys.executable, "-m", "harness.cli", *map(str, arguments)]
