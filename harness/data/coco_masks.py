"""Semantic masks from COCO's instances: the earlier annotation wins, crowds are objects like others.

The rule is the released conversion of MCC (mcc spec section 5.5): start from background, take the
annotations of an image in the order of their file, and write the class where the mask is still background.
Regions are rasterised by pycocotools, whatever their size; 255 does not occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

Runs = NDArray[np.int64]

_FEWEST_NUMBERS = 6  # x, y of three points; pycocotools rasterises less to nothing


class Region(NamedTuple):
    """What an annotation says of the pixels: its id, its label in masks, and its `segmentation`."""

    annotation: int
    label: int
    segmentation: Any


def draw_mask(regions: Sequence[Region], height: int, width: int) -> NDArray[np.uint8]:
    """Return the semantic mask of one image, (H, W) uint8.

    Args:
        regions: of its annotations, in the order of their file.
        height, width: of the image, pixels.

    Raises:
        ValueError: a segmentation is none; says which and why.
    """
    # Backwards, since what is drawn last covers: the same as keeping what is there already.
    columns = np.zeros(width * height, np.uint8)
    for annotation, label, segmentation in reversed(regions):
        try:
            runs = region_runs(segmentation, height, width)
        except ValueError as error:
            raise ValueError(f"annotation {annotation} cannot be drawn: {error}") from error
        # A slice per run: most regions are small, and expanding them to all pixels takes ten times as long.
        stops = np.cumsum(runs).tolist()
        for start, stop in zip(stops[0::2], stops[1::2]):
            columns[start:stop] = label
    return np.ascontiguousarray(columns.reshape(width, height).T)


def region_runs(segmentation: Any, height: int, width: int) -> Runs:
    """Return the pixels of a region, down the columns, as lengths of runs outside and inside in turn.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...], whose union is meant, or a run-length code
            {"size": [H, W], "counts": list or compressed string}.

    Raises:
        ValueError: it is neither, or does not fit the image; says why.
    """
    if isinstance(segmentation, Mapping):
        return _checked_runs(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has neither polygons nor a run-length code")
    polygons = [part for part in segmentation if _is_area(part, height, width)]
    if not polygons:
        return np.array([height * width])
    return _decompress(rle.merge(rle.frPyObjects(polygons, height, width))["counts"])


def _is_area(polygon: Any, height: int, width: int) -> bool:
    """Whether a polygon has three points or more."""
    numbers = isinstance(polygon, list) and all(type(number) in (int, float) for number in polygon)
    if not numbers or len(polygon) % 2:
        raise ValueError("one of its polygons is no list of x, y, x, y, ...")
    # Rasterising takes time and memory in proportion to the coordinates. Comparisons with NaN are false.
    if not (
        all(-width <= x <= 2 * width for x in polygon[0::2])
        and all(-height <= y <= 2 * height for y in polygon[1::2])
    ):
        raise ValueError(f"one of its polygons lies far outside of the {width} x {height} pixels")
    return len(polygon) >= _FEWEST_NUMBERS


def _checked_runs(code: Mapping[str, Any], height: int, width: int) -> Runs:
    """Return the runs of an annotation's run-length code; pycocotools would not look whether it fits."""
    if list(code.get("size", ())) != [height, width]:
        raise ValueError(
            f"its run-length code is for {code.get('size')} and not for [{height}, {width}] (height, width)"
        )
    counts = code.get("counts")
    if isinstance(counts, str):
        runs = _decompress(counts.encode())
    elif isinstance(counts, list) and all(type(run) is int and 0 <= run <= height * width for run in counts):
        runs = np.array(counts, np.int64)
    else:
        raise ValueError("its run-length code is broken")
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its run-length code covers {runs.sum()} of {height * width} pixels")
    return runs


def _decompress(code: bytes) -> Runs:
    """Return the runs of a compressed code: 5 bits per character, lowest first, a sixth where a run goes on.

    From the fourth, a run is stored as the difference to the last but one.

    Raises:
        ValueError: it ends within a run, or holds what no code has.
    """
    bits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not bits.size or bits.min() < 0 or bits.max() > 63 or bits[-1] & 32:
        raise ValueError("its run-length code is broken")
    last = np.flatnonzero(bits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(bits.size) - np.repeat(first, last - first + 1)
    if place.max() > 6:  # 35 bits: no image has as many pixels
        raise ValueError("its run-length code is broken")
    runs = np.add.reduceat((bits & 31) << 5 * place, first)
    runs[bits[last] & 16 > 0] -= 1 << 5 * (place[last][bits[last] & 16 > 0] + 1)  # two's complement
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
