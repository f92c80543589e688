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
    # COCO's run-length codes go down the columns. Drawing backwards, the first one drawn is the last to
    # cover, which is the same as keeping what is there already.
    columns = np.zeros(height * width, np.uint8)
    for annotation, label, segmentation in reversed(regions):
        try:
            covered = rasterize(segmentation, height, width)
        except ValueError as error:
            raise ValueError(f"annotation {annotation} cannot be drawn: {error}") from error
        np.copyto(columns, np.uint8(label), where=covered)
    return np.ascontiguousarray(columns.reshape(width, height).T)


def rasterize(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Return which pixels a `segmentation` covers: (W * H,) bool, column by column.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...], whose union is meant, or a run-length code
            {"size": [H, W], "counts": list or compressed string}.

    Raises:
        ValueError: it is neither, or does not fit the image; says why.
    """
    if isinstance(segmentation, Mapping):
        return _runs_to_pixels(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has neither polygons nor a run-length code")
    polygons = [part for part in segmentation if _is_area(part, height, width)]
    if not polygons:
        return np.zeros(height * width, np.bool_)
    union = rle.merge(rle.frPyObjects(polygons, height, width))
    return rle.decode(union).T.reshape(-1).view(np.bool_)


def _is_area(polygon: Any, height: int, width: int) -> bool:
    """Whether a polygon has three points or more."""
    numbers = isinstance(polygon, list) and all(type(number) in (int, float) for number in polygon)
    if not numbers or len(polygon) % 2:
        raise ValueError("one of its polygons is no list of x, y, x, y, ...")
    # Also false for NaN. Rasterising takes time and memory in proportion to the coordinates.
    if not all(-width <= x <= 2 * width for x in polygon[0::2]) or not all(
        -height <= y <= 2 * height for y in polygon[1::2]
    ):
        raise ValueError(f"one of its polygons lies far outside of the {width} x {height} pixels")
    return len(polygon) >= _FEWEST_NUMBERS


def _runs_to_pixels(code: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    """Expand a run-length code: runs of background and object in turn, down the columns.

    pycocotools leaves the pixels behind the last run of a code that is too short as they come from memory.
    """
    if list(code.get("size", ())) != [height, width]:
        raise ValueError(
            f"its run-length code is for {code.get('size')} and not for [{height}, {width}] (height, width)"
        )
    counts = code.get("counts")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError("its run-length code is broken")
    if sum(runs) != height * width:
        raise ValueError(f"its run-length code covers {sum(runs)} of {height * width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _decompress(text: str) -> list[int]:
    """Return the runs of a compressed code: 5 bits per character, each run from the third as a difference.

    Raises:
        ValueError: it ends within a run, or holds a character that no code has.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError("its run-length code is broken")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            negative = bits & 16
            runs.append(value - (1 << shift if negative else 0) + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run-length code is broken")
    return runs
