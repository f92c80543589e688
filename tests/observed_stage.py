"""Stages that tell which files they open: `python -m tests.observed_stage FOLDER/stage.json …`.

The paths go to `FOLDER/opened`. Data loading processes are forked, and so tell theirs too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.stage import main

WATCHED = ("open", "os.listdir", "os.scandir")
_logs: list[int] = []


def note(event: str, arguments: tuple[object, ...]) -> None:
    """Append the path that is being opened to the newest log."""
    if event in WATCHED and isinstance(arguments[0], str | os.PathLike):
        os.write(_logs[-1], f"{os.fspath(arguments[0])}\n".encode())


if __name__ == "__main__":
    for number, request in enumerate(sys.argv[1:]):
        _logs.append(os.open(Path(request).with_name("opened"), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        if number == 0:
            sys.addaudithook(note)
        if status := main([request]):
            sys.exit(status)
