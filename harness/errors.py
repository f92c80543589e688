"""The one exception type that means "your input is wrong"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Wrong input: the message is one sentence that says what is wrong, where, and what to do.

    Caught once, in the CLI, which prints the message and exits with status 2.

    What it quotes of files and names may hold anything; it is shown on one line all the same.
    """

    def __init__(self, message: str) -> None:
        plain = (char if char.isprintable() else ascii(char)[1:-1] for char in message.strip())
        super().__init__("".join(plain))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
