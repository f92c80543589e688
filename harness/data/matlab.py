"""The one thing of MATLAB files (level 5) that is needed: a field of a structure that holds small numbers.

scipy's reader covers the whole format, but ends the process on some damaged files, and archives come from
outside. Format: MathWorks, "MAT-File Format", version 5.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_HEADER = 128  # bytes; the last four hold version and byte order
_COMPRESSED, _MATRIX = 15, 14  # types of elements
_STRUCTURE, _UINT8 = 2, 9  # classes of arrays
_MAX_BYTES = 1 << 28  # unpacked
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}  # types in which numbers are stored

Order = Literal["<", ">"]


@dataclass
class _Elements:
    """Data elements one after the other: a type, a length, bytes."""

    content: memoryview
    order: Order
    place: int = 0

    def take(self) -> tuple[int, memoryview]:
        """The next element: its type and its bytes.

        Raises:
            ValueError: there is none, or it is cut off.
        """
        first = self._number(self.place)
        small = first >> 16
        if small:  # type, length and up to four bytes in eight
            kind, length, begin, end = first & 0xFFFF, small, self.place + 4, self.place + 8
        else:
            kind, length, begin = first, self._number(self.place + 4), self.place + 8
            end = begin + length
            if kind != _COMPRESSED:
                end = begin + -(-length // 8) * 8
        if begin + length > len(self.content) or (small and length > 4):
            raise ValueError("an element is cut off")
        self.place = min(end, len(self.content))
        return kind, self.content[begin : begin + length]

    def rest(self) -> Iterator[tuple[int, memoryview]]:
        """All further elements."""
        while self.place < len(self.content):
            yield self.take()

    def numbers(self) -> NDArray[np.integer]:
        """The numbers of the next element.

        Raises:
            ValueError: it holds none, or they are no integers.
        """
        kind, content = self.take()
        if kind not in _NUMBERS:
            raise ValueError(f"an element of type {kind} stands where integers belong")
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if len(content) % dtype.itemsize:
            raise ValueError("a number is cut off")
        return np.frombuffer(content, dtype)

    def _number(self, place: int) -> int:
        if place + 4 > len(self.content):
            raise ValueError("it ends in the middle of an element")
        return int.from_bytes(self.content[place : place + 4], "little" if self.order == "<" else "big")


@dataclass(frozen=True)
class _Array:
    """The head of an array: class, sizes, name; and the elements behind it."""

    kind: int
    shape: tuple[int, ...]
    name: str
    parts: _Elements

    @classmethod
    def read(cls, content: memoryview, order: Order) -> _Array:
        parts = _Elements(content, order)
        flags, shape, name = parts.numbers(), parts.numbers(), parts.numbers()
        if not len(flags) or len(shape) > 4 or (shape < 0).any():
            raise ValueError("an array has no class or no size")
        text = name.astype(np.uint8).tobytes().decode("latin-1")
        return cls(int(flags[0]) & 0xFF, tuple(shape.tolist()), text, parts)


def read_uint8_field(content: bytes, structure: str, field: str) -> NDArray[np.uint8]:
    """A field of a 1 x 1 structure, as an array of bytes.

    Args:
        content: of the file.
        structure: name of the variable.
        field: name of its field.

    Raises:
        ValueError: it is no such file, or does not hold that.
    """
    marks: dict[bytes, Order] = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
    order = marks.get(content[_HEADER - 4 : _HEADER])
    if order is None:
        raise ValueError("it is no MATLAB file of level 5")
    for array in _variables(memoryview(content)[_HEADER:], order):
        if array.name == structure:
            return _bytes(_field(array, field, order))
    raise ValueError(f"it has no {structure}")


def _variables(content: memoryview, order: Order) -> Iterator[_Array]:
    for kind, data in _Elements(content, order).rest():
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            try:
                unpacked = inflater.decompress(data, _MAX_BYTES)
            except zlib.error as error:
                raise ValueError(f"it cannot be unpacked: {error}") from error
            if not inflater.eof:
                raise ValueError(f"it is cut off, or unpacks to more than {_MAX_BYTES} bytes")
            kind, data = _Elements(memoryview(unpacked), order).take()
        if kind == _MATRIX:
            yield _Array.read(data, order)


def _field(array: _Array, field: str, order: Order) -> _Array:
    if array.kind != _STRUCTURE or array.shape != (1, 1):
        raise ValueError(f"{array.name} is no structure")
    widths, names = array.parts.numbers(), array.parts.numbers().astype(np.uint8).tobytes()
    width = int(widths[0]) if len(widths) else 0
    if not 0 < width <= len(names):
        raise ValueError(f"{array.name} has no fields")
    for start in range(0, len(names), width):
        kind, data = array.parts.take()
        if names[start : start + width].partition(b"\0")[0] == field.encode():
            if kind != _MATRIX:
                raise ValueError(f"{array.name}.{field} is no array")
            return _Array.read(data, order)
    raise ValueError(f"{array.name} has no {field}")


def _bytes(array: _Array) -> NDArray[np.uint8]:
    if array.kind != _UINT8 or len(array.shape) != 2:
        raise ValueError(f"an array of class {array.kind} and shape {array.shape} stands where bytes belong")
    numbers = array.parts.numbers()
    if numbers.dtype.itemsize != 1 or len(numbers) != array.shape[0] * array.shape[1]:
        raise ValueError(f"an array of shape {array.shape} has {len(numbers)} numbers")
    return np.ascontiguousarray(numbers.view(np.uint8).reshape(array.shape, order="F"))
