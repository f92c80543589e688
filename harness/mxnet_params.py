"""Reader of MXNet's `.params` files, which hold named arrays; MXNet itself is not needed.

Layout (little endian; spec `hsc`, section 2.3): a list header, the arrays, the names. An array is written
in one of three generations, which its first 32-bit word tells apart. Nothing of the file is executed or
unpickled, and no length in it is believed beyond the file's end.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import InputError

_LIST_MAGIC = 0x112
_V1, _V2 = 0xF993FAC8, 0xF993FAC9
_DTYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")
_MAX_DIMENSIONS = 8


class _Cursor:
    """Position in the bytes of a file; reading beyond its end is an error."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self._content) - self._at:
            raise ValueError(f"it ends in the middle of an array or name (byte {len(self._content)})")
        piece = self._content[self._at : self._at + count]
        self._at += count
        return piece

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")))

    def number(self, layout: str) -> int:
        return self.numbers(layout)[0]

    @property
    def rest(self) -> int:
        return len(self._content) - self._at


def read_params(path: Path) -> dict[str, Tensor]:
    """Read the arrays of a `.params` file by name (`arg:conv1a_weight`), in the file's order.

    Raises:
        InputError: the file cannot be read, is cut short, or is not of this format.
    """
    try:
        cursor = _Cursor(memoryview(path.read_bytes()))
        if cursor.number("Q") != _LIST_MAGIC:
            raise ValueError("it does not begin like a list of arrays")
        cursor.number("Q")  # reserved
        arrays = [_array(cursor) for _ in range(_count(cursor))]
        names = [str(cursor.take(cursor.number("Q")), "utf-8") for _ in range(_count(cursor))]
        if len(names) != len(arrays) or len(set(names)) != len(names):
            raise ValueError(f"it has {len(arrays)} arrays and {len(set(names))} distinct names")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no whole MXNet .params file: {error}; fetch it again") from error
    return dict(zip(names, map(torch.from_numpy, arrays), strict=True))


def _count(cursor: _Cursor) -> int:
    count = cursor.number("Q")
    if count > cursor.rest:  # every item takes more than a byte
        raise ValueError(f"it announces {count} items, more than it has bytes")
    return count


def _array(cursor: _Cursor) -> NDArray[np.generic]:
    tag = cursor.number("I")
    if tag == _V2 and cursor.number("i") != 0:
        raise ValueError("it holds a sparse array")
    dimensions = cursor.number("I") if tag in (_V1, _V2) else tag
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"it holds an array of {dimensions} dimensions")
    shape = cursor.numbers(("q" if tag in (_V1, _V2) else "I") * dimensions)
    cursor.numbers("ii")  # device type and id
    code = cursor.number("i")
    if not 0 <= code < len(_DTYPES):
        raise ValueError(f"it holds an array of unknown type {code}")
    if min(shape, default=0) < 0:
        raise ValueError(f"it holds an array of shape {shape}")
    dtype = np.dtype(_DTYPES[code])
    size = dtype.itemsize
    for side in shape:
        size *= side
    return np.frombuffer(cursor.take(size), dtype).reshape(shape).copy()
