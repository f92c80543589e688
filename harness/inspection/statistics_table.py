"""The statistics of a split as a table for the terminal."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from harness.inspection.statistics import Statistics


def statistics_table(statistics: Statistics) -> Table:
    """Return a row per class, the most frequent first: images, pixels, and what it occurs with most."""
    table = Table(
        "class", "images", "share", title=f"{statistics.dataset} {statistics.split}", title_justify="left"
    )
    for column in (1, 2):
        table.columns[column].justify = "right"
    if statistics.shares is not None:
        table.add_column("pixels", justify="right")
    table.add_column("most often with")
    images, together = statistics.images, statistics.together
    np.fill_diagonal(together, 0)
    for index in np.argsort(-images, kind="stable"):
        row = [
            statistics.classes[index],
            f"{images[index]:,}",
            _percent(images[index] / len(statistics.labels)),
        ]
        if statistics.shares is not None:
            row.append(_percent(statistics.shares[index + 1]))
        other = int(together[index].argmax())
        share = together[index, other] / max(images[index], 1)
        table.add_row(*row, f"{statistics.classes[other]} ({_percent(share)})" if share else "-")
    return table


def summary(statistics: Statistics) -> str:
    """Return a sentence on images, labels and masks."""
    per_image = statistics.labels.sum(axis=1)
    heights, widths = statistics.sizes.T
    sentence = (
        f"{len(per_image):,} images of {per_image.mean():.2f} classes on average; {widths.min()} to "
        f"{widths.max()} pixels wide (median {np.median(widths):.0f}) and {heights.min()} to {heights.max()} "
        f"high (median {np.median(heights):.0f})"
    )
    if statistics.shares is None or statistics.pixels is None:
        return f"{sentence}; no masks"
    ignored = statistics.pixels[-1] / statistics.pixels.sum()
    return (
        f"{sentence}; {statistics.masks:,} masks, {_percent(statistics.shares[0])} background, and "
        f"{_percent(ignored)} of all pixels ignored"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
