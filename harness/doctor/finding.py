"""What a check of the doctor answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "absent", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes:
        subject: what was looked at.
        state: `ok`; `absent`, which is no fault; `warning`, with which runs work, but not all or not well;
            `problem`, with which runs fail.
        found: in a few words.
        mend: the command that mends it, or what to do; empty if there is nothing to do.
    """

    subject: str
    state: State
    found: str
    mend: str = ""
