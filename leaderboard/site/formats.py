"""How values read on the pages, where `leaderboard.wording` does not say it for every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.watch import duration
from leaderboard import wording

MISSING = "–"
_MINUS = "\N{MINUS SIGN}"


def percent(fraction: float | None) -> str:
    """`0.5712` → `57.1`."""
    return MISSING if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.1f}"


def signed(fraction: float) -> str:
    """A difference in points, always with its sign: `-0.0041` → `−0.4`."""
    return wording.difference_text(fraction).replace("-", _MINUS)


def size(count: int | None) -> str:
    """Bytes, from kibibytes on: `2048` → `2 KiB`."""
    if count is None or count >= 1 << 30:
        return wording.gibibytes(count).replace("-", MISSING)
    return f"{count / (1 << 20):.0f} MiB" if count >= 1 << 20 else f"{count / (1 << 10):.0f} KiB"


def day(value: datetime | None) -> str:
    """`2026-11-21`."""
    return MISSING if value is None else f"{value:%Y-%m-%d}"


def moment(value: datetime | None) -> str:
    """`2026-11-21 05:20 UTC`."""
    return MISSING if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def paper_address(link: str | None) -> str | None:
    """Address of a paper by `arXiv:…` or `doi:…`; None for anything else."""
    for prefix, site in (("arXiv:", "https://arxiv.org/abs/"), ("doi:", "https://doi.org/")):
        if link and link.startswith(prefix):
            return site + link.removeprefix(prefix)
    return None


def finite(value: Any) -> Any:
    """A document without NaN and infinities, which JSON does not have; floats to five places."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value


FILTERS = {
    "percent": percent,
    "signed": signed,
    "size": size,
    "day": day,
    "moment": moment,
    "paper_address": paper_address,
    "duration": lambda seconds: duration(seconds).replace("-", MISSING),
    "energy": lambda joules: wording.watt_hours(joules).replace("-", MISSING),
    "hours": lambda seconds: wording.hours(seconds).replace("-", MISSING),
    "rate": lambda per_second: wording.rate(per_second).replace("-", MISSING),
    "paper_value": wording.paper_text,
    "printed": wording.printed,
    "threshold": wording.threshold_text,
}
