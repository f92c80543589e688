"""Numbers of the leaderboard as text, the same in every format."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase

from leaderboard.board import Cell, Entry, PaperValue

_GIB = 1 << 30


def value_text(cell: Cell) -> str:
    """`54.5`, or `54.5 ± 0.3` for the mean of several runs; mIoU in percent."""
    text = f"{100 * cell.mean:.1f}"
    return text if cell.std is None else f"{text} ± {100 * cell.std:.1f}"


def threshold_text(cell: Cell) -> str:
    """`@0.34`, `@0.33-0.35` where it differs between runs, nothing without a threshold."""
    values = sorted(set(cell.thresholds.values()))
    return "@" + "-".join(f"{value:g}" for value in dict.fromkeys((values[0], values[-1]))) if values else ""


def paper_text(value: PaperValue) -> str:
    """`67.2` as printed; `67.2*` where the protocol is not ours, `67.2?` where it is still to be verified."""
    mark = ("" if value.number.comparable else "*") + ("" if value.number.checked else "?")
    return printed(value.number.value) + mark


def printed(value: float) -> str:
    """A published number with one decimal, or with two where it has two."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def difference_text(difference: float | None) -> str:
    """`+0.3` points; empty without a difference."""
    return "" if difference is None else f"{100 * difference:+.1f}"


def paper_legend(entries: Iterable[Entry]) -> list[str]:
    """What the marks behind published numbers mean, for those that occur."""
    numbers = [value.number for entry in entries for value in entry.papers.values()]
    legend = {
        "* another protocol than ours, or one that is not stated": not all(n.comparable for n in numbers),
        "? quoted elsewhere, to be checked against the paper": not all(n.checked for n in numbers),
    }
    return [text for text, needed in legend.items() if needed]


def footnote_sign(position: int) -> str:
    """a, b, …, z, aa, ab, …"""
    more, letter = divmod(position, len(ascii_lowercase))
    return (footnote_sign(more - 1) if more else "") + ascii_lowercase[letter]


def hours(seconds: float | None) -> str:
    """`2.7 h`; minutes below one hour, seconds below one minute."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def gibibytes(count: int | None) -> str:
    """`1.0 GiB`; `59 MiB` below a tenth of that."""
    if count is None:
        return "-"
    return f"{count / _GIB:.1f} GiB" if count >= _GIB / 10 else f"{count / (1 << 20):.0f} MiB"


def rate(images_per_second: float | None) -> str:
    """`98.8`, without decimals from 100 on."""
    if images_per_second is None:
        return "-"
    return f"{images_per_second:.0f}" if images_per_second >= 100 else f"{images_per_second:.1f}"


def watt_hours(joules: float | None) -> str:
    """`3 Wh`, `1.2 kWh`."""
    if joules is None:
        return "-"
    energy = joules / 3600
    return f"{energy / 1000:.1f} kWh" if energy >= 1000 else f"{energy:.0f} Wh"
