"""The statistics of a split as a figure for a page: images and pixels per class, co-occurrence, sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from harness.inspection.figure_file import save_figure
from harness.inspection.statistics import Statistics

_BLUE, _ORANGE, _GRAY = "#3b6ea5", "#d98032", "#5f6368"
_ANNOTATED = 24  # classes up to which the matrix has numbers


def draw_statistics(statistics: Statistics, path: Path) -> None:
    """Draw the figure into a file whose suffix says the format.

    The matrix is read by rows: of the images with the class of the row, the share that also has the class of
    the column.
    """
    classes = len(statistics.classes)
    side = min(max(0.24 * classes, 3.2), 11.0)  # inches of the panels that have a line per class
    text = 8.0 if classes <= _ANNOTATED else 6.0
    figure = Figure(
        figsize=(side + 6.2, side + 3.6), dpi=200, layout=ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.1)
    )
    rows = figure.add_gridspec(2, 1, height_ratios=[side, 2.2], hspace=0.06)
    upper = rows[0].subgridspec(1, 3, width_ratios=[1.7, 1.7, side + 0.6])
    lower = rows[1].subgridspec(1, 3)
    order = np.argsort(-statistics.images, kind="stable")
    images = figure.add_subplot(upper[0])
    _bars_of_images(images, statistics, order, text)
    _bars_of_pixels(figure.add_subplot(upper[1], sharey=images), statistics, order, text)
    _matrix(figure, figure.add_subplot(upper[2]), statistics, order, text)
    _classes_per_image(figure.add_subplot(lower[0]), statistics)
    _sides(figure.add_subplot(lower[1]), statistics)
    if statistics.covers is not None:
        _covers(figure.add_subplot(lower[2]), statistics.covers)
    count = f"{len(statistics.labels):,} images"
    figure.suptitle(f"{statistics.dataset} {statistics.split}: {count}", fontsize=13, x=0.01, ha="left")
    save_figure(figure, path)


def _bars_of_images(axes: Axes, statistics: Statistics, order: np.ndarray, text: float) -> None:
    counts = statistics.images[order]
    bars = axes.barh(range(len(order)), counts, color=_BLUE, height=0.72)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=text, color=_GRAY)
    axes.set_yticks(range(len(order)), [statistics.classes[i] for i in order], fontsize=text + 0.5)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, counts.max() * 1.3)
    axes.set_title("Images with the class", fontsize=10, loc="left")
    _plain(axes, ticks=False)


def _bars_of_pixels(axes: Axes, statistics: Statistics, order: np.ndarray, text: float) -> None:
    axes.tick_params(axis="y", labelleft=False)
    if statistics.shares is None:
        axes.set_title("Pixels: no masks", fontsize=10, loc="left")
        _plain(axes, ticks=False)
        return
    shares = statistics.shares[1:][order]
    bars = axes.barh(range(len(order)), shares, color=_ORANGE, height=0.72)
    labels = [f"{100 * share:.2f} %" for share in shares]
    axes.bar_label(bars, labels, padding=2, fontsize=text, color=_GRAY)
    axes.set_xlim(0, shares.max() * 1.45)
    axes.set_title("Share of pixels", fontsize=10, loc="left")
    background = f"background {100 * statistics.shares[0]:.1f} %"
    axes.set_xlabel(f"{background}, {statistics.masks:,} masks", fontsize=8, color=_GRAY)
    _plain(axes, ticks=False)


def _matrix(figure: Figure, axes: Axes, statistics: Statistics, order: np.ndarray, text: float) -> None:
    together = statistics.together[np.ix_(order, order)]
    shares = together / np.maximum(np.diag(together), 1)[:, None]
    np.fill_diagonal(shares, np.nan)  # every class is always with itself
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(np.nanmax(shares), 0.1), aspect="equal")
    names = [statistics.classes[i] for i in order]
    axes.set_xticks(range(len(order)), names, rotation=90, fontsize=text + 0.5)
    axes.set_yticks(range(len(order)), names, fontsize=text + 0.5)
    axes.tick_params(length=0)
    axes.set_title("Of the images with the row's class, % with the column's", fontsize=10, loc="left")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(
        picture, ax=axes, shrink=0.5, aspect=30, pad=0.01, format=PercentFormatter(1, decimals=0)
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    if len(order) > _ANNOTATED:
        return
    dark = 0.55 * np.nanmax(shares)
    for row, column in zip(*np.nonzero(together)):
        share = shares[row, column]
        if row != column and share >= 0.005:
            colour = "white" if share > dark else "#202124"
            axes.text(column, row, f"{100 * share:.0f}", fontsize=6, ha="center", va="center", color=colour)


def _classes_per_image(axes: Axes, statistics: Statistics) -> None:
    counts = np.bincount(statistics.labels.sum(axis=1))
    axes.bar(range(len(counts)), counts, color=_BLUE, width=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Classes per image", fontsize=10, loc="left")
    axes.set_xlabel(f"mean {statistics.labels.sum(axis=1).mean():.2f}", fontsize=8, color=_GRAY)
    _plain(axes)


def _sides(axes: Axes, statistics: Statistics) -> None:
    heights, widths = statistics.sizes.T
    bins = np.linspace(statistics.sizes.min(), statistics.sizes.max() + 1, 25).tolist()
    axes.hist([widths, heights], bins, color=[_BLUE, _ORANGE], label=["width", "height"], rwidth=0.9)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_title("Width and height of images", fontsize=10, loc="left")
    axes.set_xlabel("pixels", fontsize=8, color=_GRAY)
    _plain(axes)


def _covers(axes: Axes, covers: np.ndarray) -> None:
    axes.hist(covers, np.linspace(0, 1, 26).tolist(), color=_ORANGE, rwidth=0.9)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title("How much of its image a class covers", fontsize=10, loc="left")
    axes.set_xlabel(f"median {100 * np.median(covers):.1f} %", fontsize=8, color=_GRAY)
    _plain(axes)


def _plain(axes: Axes, ticks: bool = True) -> None:
    """Leave only the lines that carry something."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8, length=3, color=_GRAY)
    if ticks:
        axes.tick_params(axis="y", labelsize=8, length=3, color=_GRAY)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if not ticks:
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", labelbottom=False, length=0)
        axes.tick_params(axis="y", length=0)
