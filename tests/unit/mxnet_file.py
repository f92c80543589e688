"""Writes MXNet `.params` files in the three generations of its format, for tests of the reader."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Literal

import numpy as np

Generation = Literal["oldest", "v1", "v2"]

CODES = {
    dtype: code
    for code, dtype in enumerate(("float32", "float64", "float16", "uint8", "int32", "int8", "int64"))
}


def array_bytes(array: np.ndarray, generation: Generation = "v2", *, code: int | None = None) -> bytes:
    """One array; `code` replaces the number of its type."""
    code = CODES[array.dtype.name] if code is None else code
    if generation == "oldest":
        head = struct.pack(f"<I{array.ndim}I", array.ndim, *array.shape)
    else:
        tag = {"v1": (0xF993FAC8,), "v2": (0xF993FAC9, 0)}[generation]
        head = struct.pack("<I" + "i" * (len(tag) - 1), *tag)
        head += struct.pack(f"<I{array.ndim}q", array.ndim, *array.shape)
    return head + struct.pack("<iii", 1, 0, code) + array.tobytes()


def list_bytes(arrays: Iterable[bytes], names: Iterable[str], *, magic: int = 0x112) -> bytes:
    """A file of these arrays and names."""
    arrays, encoded = list(arrays), [name.encode() for name in names]
    content = struct.pack("<QQQ", magic, 0, len(arrays)) + b"".join(arrays)
    content += struct.pack("<Q", len(encoded))
    return content + b"".join(struct.pack("<Q", len(name)) + name for name in encoded)


def params_bytes(state: dict[str, np.ndarray], generation: Generation = "v2") -> bytes:
    """A file with this state."""
    return list_bytes((array_bytes(array, generation) for array in state.values()), state)
