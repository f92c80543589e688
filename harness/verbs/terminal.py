"""What every verb says to the user, and how."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

WorkDir = Annotated[
    Path, typer.Option("--work-dir", envvar="HARNESS_WORK", help="Folder for artifacts, runs and records.")
]


def console() -> Console:
    """The terminal, or plain text where standard output is none."""
    from rich.console import Console

    return Console()


def warn(message: str) -> None:
    """Say what the user should know and need not act on."""
    sys.stderr.write(f"warning: {message}\n")


def fail(message: str) -> None:
    """Say why the command ends."""
    sys.stderr.write(f"error: {message}\n")


def require_folder_of(output: Path) -> None:
    """Check that there is a folder for a file to write.

    Raises:
        InputError: there is none.
    """
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent} to write {output.name} to: make it first")
