"""Figures as files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".pdf", ".svg")


def require_figure_name(path: Path) -> None:
    """Check that the suffix of a file names a format that figures have.

    Raises:
        InputError: it does not.
    """
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} cannot hold a picture: give it one of the endings {', '.join(_SUFFIXES)}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the suffix says."""
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."))
