"""One image with its mask and labels side by side, as a figure with a legend in the classes' colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from harness.data.dataset import Dataset
from harness.data.palette import IGNORE
from harness.errors import InputError
from harness.inspection.figure_file import save_figure

_PANEL = 4.2  # inches of an image's longer side
_GRAY = "#5f6368"


def find_split(dataset: Dataset, image_id: str) -> str:
    """Return the first split whose list has the image; train comes before val.

    Raises:
        InputError: none has it.
    """
    lists = [split for split in dataset.splits if dataset.has_list(split)]
    for split in lists:
        if image_id in dataset.ids(split):
            return split
    where = dataset.list_path(lists[0] if lists else dataset.splits[0])
    raise InputError(
        f"no list of {dataset.name} has image '{image_id}': take an id from a list such as {where}"
    )


def draw_image(dataset: Dataset, image_id: str, split: str, path: Path) -> None:
    """Draw image, mask on the image and mask into a file whose suffix says the format.

    Raises:
        InputError: the image is missing or broken; so is a mask or an annotation that is there.
    """
    image = dataset.read_image(image_id)
    plain = split in dataset.unlabelled_splits
    labels = np.zeros(0, np.int64) if plain else 1 + np.flatnonzero(dataset.image_labels(image_id))
    there = dataset.mask_path(image_id, split).exists()
    mask = dataset.read_mask(image_id, split) if there else None
    height, width = image.shape[:2]
    scale = _PANEL / max(height, width)
    columns = 3 if there else 1
    size = (max(columns * (width * scale + 0.1), 4.6), height * scale + 1.15)
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    _picture(axes[0], image, "image")
    if mask is not None:
        colours = dataset.palette[mask]
        _picture(axes[1], _overlaid(image, mask, colours), "mask on the image")
        _picture(axes[2], colours, "mask")
    figure.suptitle(f"{dataset.name} {split}: {image_id}, {width} x {height}", fontsize=11, x=0.01, ha="left")
    _legend(figure, dataset, labels, mask)
    save_figure(figure, path)


def _legend(
    figure: Figure, dataset: Dataset, labels: NDArray[np.int64], mask: NDArray[np.uint8] | None
) -> None:
    """Put the image-level labels below, and how much of the mask they have."""
    shares: dict[int, float] = {}
    if mask is not None:
        values, counts = np.unique(mask, return_counts=True)
        shares = dict(zip(values.tolist(), (counts / mask.size).tolist(), strict=True))
    names = {IGNORE: "ignored", **dict(enumerate(dataset.classes))}
    entries = []
    for label in sorted({*labels.tolist(), *shares} - {0}):
        words = names[label]
        if mask is not None:
            words += f" {100 * shares.get(label, 0):.1f} %"
        if label not in labels and label != IGNORE:
            words += " (in the mask only)"
        colour = dataset.palette[label] / 255
        entries.append(Patch(facecolor=colour, edgecolor="black", linewidth=0.5, label=words))
    title = "image-level labels" if mask is None else "image-level labels and what the mask has of them"
    legend = figure.legend(
        handles=entries, title=title, loc="outside lower left", ncols=4, frameon=False, fontsize=9
    )
    legend.set_alignment("left")
    legend.get_title().set(fontsize=9, color=_GRAY)


def _picture(axes: Axes, pixels: NDArray[np.uint8], title: str) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_title(title, fontsize=9, loc="left", color=_GRAY)
    axes.set_axis_off()


def _overlaid(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], colours: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Blend all but the background into the image."""
    weight = np.where(mask == 0, 0.0, 0.6)[..., None]
    return ((1 - weight) * image + weight * colours).astype(np.uint8)
