"""COCO's `instances_*.json`, read once from start to end without ever being in memory as a whole.

`instances_train2014.json` is hundreds of megabytes of text, and several gigabytes as Python objects. All that
has to be remembered of an annotation is which image it belongs to, its class, and where in the file it
stands: whoever needs its region reads those bytes again (`read_regions`).
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from harness.data.coco_classes import CLASSES, LABEL_OF_CATEGORY
from harness.data.coco_masks import Region
from harness.errors import InputError

_BLOCK = 4 << 20  # bytes read at a time
_LONGEST = 64 << 20  # bytes; no annotation and no other value is as long
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_IMAGE_FILE = re.compile(r"(COCO_(?:train|val)2014_\d{12})\.jpg")
_ARRAYS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True)
class InstancesImage:
    """An image of an instances file.

    Attributes:
        id: `COCO_val2014_000000000042`, the image file's name without suffix.
        height, width: pixels.
        labels: classes of its annotations, crowds included: labels as in masks, ascending, each once.
        spans: offset and length in bytes of its annotations, in the order of the file.
    """

    id: str
    height: int
    width: int
    labels: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def read_instances(path: Path) -> list[InstancesImage]:
    """Return the images of an instances file, ascending by id, those without annotations included.

    Raises:
        InputError: the file is missing, truncated or none of COCO 2014's instances; an image or annotation
            occurs twice; an annotation has an unknown category or belongs to no image.
    """
    contents = _Contents(path)
    try:
        with path.open("rb") as file:
            for member, item, offset, length in _JSONFile(file, path).members():
                contents.add(member, item, offset, length)
    except FileNotFoundError:
        raise InputError(f"there is no {path}: complete the dataset") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): get the file again") from error
    return contents.images()


def read_regions(path: Path, image: InstancesImage) -> list[Region]:
    """Return the regions of an image's annotations, in the order of the file.

    Args:
        path: the instances file that the image was read from.
    """
    regions = []
    with path.open("rb", buffering=0) as file:
        for offset, length in image.spans:
            found = json.loads(os.pread(file.fileno(), length, offset))
            label = LABEL_OF_CATEGORY[found["category_id"]]
            regions.append(Region(found["id"], label, found["segmentation"]))
    return regions


class _Contents:
    """What is remembered of the images and annotations of a file while it goes by."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[str] = set()
        self._images: dict[int, tuple[str, int, int]] = {}
        self._names: set[str] = set()
        # One number per annotation each; a list of objects would be ten times as large.
        self._ids, self._image_ids, self._labels = array("q"), array("q"), array("B")
        self._offsets, self._lengths = array("q"), array("q")

    def add(self, member: str, item: Any, offset: int, length: int) -> None:
        """Take an item of one of the file's arrays."""
        self._seen.add(member)
        try:
            if member == "images":
                self._add_image(item)
            elif member == "annotations":
                self._add_annotation(item)
                self._offsets.append(offset)
                self._lengths.append(length)
            elif member == "categories":
                self._check_category(item)
        except (KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f"{self._path} has no valid entry of {member} at byte {offset} ({type(error).__name__}: "
                f"{error}): get the file again"
            ) from error

    def images(self) -> list[InstancesImage]:
        """Return the images with what belongs to them, once the whole file went by."""
        missing = [name for name in _ARRAYS if name not in self._seen]
        if missing:
            raise InputError(f"{self._path} has no {missing[0]}: get COCO 2014's file of instances")
        self._require_once(np.asarray(self._ids))
        owners = np.asarray(self._image_ids)
        strangers = np.setdiff1d(owners, np.fromiter(self._images, np.int64, len(self._images)))
        if strangers.size:
            raise InputError(
                f"{self._path} has annotations of image {strangers[0]}, which it does not list: get the file "
                "again"
            )
        order = np.argsort(owners, kind="stable")  # stable: within an image the file's order counts
        starts = np.searchsorted(owners[order], list(self._images))
        stops = np.searchsorted(owners[order], list(self._images), side="right")
        found = [
            InstancesImage(
                *image,
                labels=tuple(sorted({self._labels[i] for i in order[start:stop]})),
                spans=tuple((self._offsets[i], self._lengths[i]) for i in order[start:stop]),
            )
            for image, start, stop in zip(self._images.values(), starts, stops, strict=True)
        ]
        return sorted(found, key=lambda image: image.id)

    def _check_category(self, item: Mapping[str, Any]) -> None:
        label = LABEL_OF_CATEGORY.get(item["id"])
        if label is None or item["name"] != CLASSES[label]:
            raise InputError(
                f"{self._path} has the category {item['id']} '{item['name']}', which COCO 2014 has not: get "
                "the file again"
            )

    def _add_image(self, item: Mapping[str, Any]) -> None:
        name = _IMAGE_FILE.fullmatch(item["file_name"])
        if name is None:
            raise InputError(
                f"{self._path} lists the image {item['file_name']}, but COCO 2014's are named like "
                "COCO_val2014_000000000042.jpg: get the file of 2014"
            )
        if item["id"] in self._images or name[1] in self._names:
            raise InputError(f"{self._path} lists the image {name[0]} twice: get the file again")
        self._images[_integer(item["id"])] = name[1], _integer(item["height"]), _integer(item["width"])
        self._names.add(name[1])

    def _add_annotation(self, item: Mapping[str, Any]) -> None:
        if item["category_id"] not in LABEL_OF_CATEGORY:
            raise InputError(
                f"annotation {item['id']} in {self._path} has category {item['category_id']}, which COCO "
                "2014 has not: get the file again"
            )
        _ = item["segmentation"]  # must be there; what it holds is looked at when it is drawn
        self._ids.append(_integer(item["id"]))
        self._image_ids.append(_integer(item["image_id"]))
        self._labels.append(LABEL_OF_CATEGORY[item["category_id"]])

    def _require_once(self, ids: np.ndarray) -> None:
        known, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            raise InputError(f"{self._path} has annotation {known[counts > 1][0]} twice: get the file again")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no integer")
    return value


class _JSONFile:
    """The members of a JSON object in a file, seen through a window of text that moves forward.

    Bytes are taken for Latin-1, where every byte is a character, so that offsets in the text are offsets in
    the file; the structure of JSON is ASCII.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = os.fstat(file.fileno()).st_size
        self._text = ""
        self._at = 0  # next character of the text
        self._start = 0  # offset of the text in the file

    def members(self) -> Iterator[tuple[str, Any, int, int]]:
        """Yield name, item, offset and length of the items of every array, and of every other value.

        Raises:
            InputError: this is no JSON object, or it ends too early.
        """
        self._take("{")
        while True:
            name = str(self._value()[0])
            self._take(":")
            if self._next() == "[":
                self._at += 1
                yield from self._items(name)
            else:
                yield name, *self._value()
            if self._take(",}") == "}":
                break
        if self._next():
            raise self._broken("there is more behind its end")

    def _items(self, name: str) -> Iterator[tuple[str, Any, int, int]]:
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield name, *self._value()
            if self._take(",]") == "]":
                return

    def _value(self) -> tuple[Any, int, int]:
        """Decode the next value: itself, offset, length."""
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > _LONGEST or not self._read():
                    raise self._broken(str(error)) from error
            else:
                # A number that touches the end of the window may go on behind it.
                if end < len(self._text) or not self._read():
                    break
        offset, length = self._start + self._at, end - self._at
        self._at = end
        return value, offset, length

    def _next(self) -> str:
        """Skip white space and return the next character without taking it; nothing at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def _take(self, expected: str) -> str:
        found = self._next()
        if not found or found not in expected:
            raise self._broken(f"{' or '.join(expected)} expected")
        self._at += 1
        return found

    def _read(self) -> bool:
        """Move the window on by a block; False at the end of the file."""
        block = self._file.read(_BLOCK)
        self._start += self._at
        self._text = self._text[self._at :] + block.decode("latin-1")
        self._at = 0
        return bool(block)

    def _broken(self, reason: str) -> InputError:
        return InputError(
            f"{self._path} is truncated or no JSON ({reason}, from byte {self._start + self._at} of "
            f"{self._size}): get the file again"
        )
