"""Dictionaries in `.npy` files, as numpy pickles them, read without ever unpickling.

A pickle may call any function of any module. Here its opcodes are checked against those that numpy writes,
every name that it asks for is answered by a stand-in of this module that only notes its arguments, and arrays
are made from these notes. Nothing of numpy or torch is called with what the file says before that is checked.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Never, cast

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.npz import read_header

MAX_BYTES = 1 << 29  # of one file; 90 maps of 640 x 640 in float32 take 147 MB

_NUMPY_MODULES = {"numpy.core.multiarray", "numpy._core.multiarray"}
_OPCODES = """
    PROTO FRAME MARK STOP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT
    BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    GLOBAL STACK_GLOBAL REDUCE BUILD MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
"""
_ALLOWED = frozenset(_OPCODES.split())
_DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_LONG = 4096  # bytes
_DEEPEST = 3  # dictionary, list, array


def read_npy(path: Path) -> Any:
    """Read an array, or a pickled dictionary or list of arrays, numbers and strings.

    Tensors of torch, which some released codes put into such dictionaries, become arrays.

    Raises:
        InputError: the file is missing, too large or broken, or holds anything else.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes, more than {MAX_BYTES}: this is no file of one image")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): complete the folder") from error
    try:
        return _parse(content)
    except _RefusedError as error:
        raise InputError(
            f"{path} holds {error}, but only arrays, numbers, strings, lists and dictionaries are read: "
            "write it anew from a source that you trust"
        ) from error
    except Exception as error:  # a hostile or torn file may fail in any way; none of them is a fault of ours
        raise InputError(
            f"{path} is no .npy file ({type(error).__name__}: {error}): write it anew"
        ) from error


class _RefusedError(Exception):
    """The pickle holds something else; says what."""


def _parse(content: bytes) -> Any:
    file = io.BytesIO(content)
    shape, _, dtype = read_header(file)
    if not dtype.hasobject:
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    if dtype != np.dtype(object) or shape != ():
        raise _RefusedError("an array of objects")
    start = file.tell()
    _check_opcodes(content, start)
    file.seek(start)
    found = _Unpickler(file, encoding="latin1").load()
    if not isinstance(found, _Array):
        raise _RefusedError("no array")
    return _plain(found.item())


class _Opcodes:
    """What `pickletools` reads a pickle from: of long arguments it gets a view, since copies take longest."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content, self._view, self._place = content, memoryview(content), start

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes | memoryview:
        found = self._view[self._place : self._place + size]
        self._place += len(found)
        return bytes(found) if len(found) < _LONG else found

    def readline(self) -> bytes:
        end = self._content.find(b"\n", self._place) + 1 or len(self._content)
        return bytes(self.read(end - self._place))


def _check_opcodes(content: bytes, start: int) -> None:
    for opcode, argument, _ in pickletools.genops(cast(IO[bytes], _Opcodes(content, start))):
        if opcode.name not in _ALLOWED:
            raise _RefusedError(f"the pickle opcode {opcode.name}")
        # The unpickler allocates as many places as the highest number says.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(content):
            raise _RefusedError("a pickle with absurd numbers")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY_MODULES:
            module = "numpy"
        try:
            return _Callable(_STAND_INS[module, name])
        except KeyError:
            raise _RefusedError(f"a call of {module}.{name}") from None


class _Callable:
    """What a name in the pickle stands for; the pickle may call it, and do nothing else with it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> Never:
        raise _RefusedError("a state for a function")


class _Dtype:
    """Notes on a `numpy.dtype`: its code, such as `f4`, and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        if self.code not in _DTYPES or self.order not in ("<", ">", "|", "="):
            raise _RefusedError(f"an array of {self.code}")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """Notes on a `numpy.ndarray`: shape, dtype, order and content."""

    __slots__ = ("content", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.shape: Any = None

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def item(self) -> Any:
        """The one object of an array without dimensions."""
        if self.shape != () or not isinstance(self.content, list) or len(self.content) != 1:
            raise _RefusedError("an array of objects")
        return self.content[0]

    def numpy(self) -> NDArray[Any]:
        dtype, content = self.dtype.numpy, self.content
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        array = np.frombuffer(content, dtype)
        return array.reshape(self.shape, order="F" if self.fortran else "C")


class _Scalar:
    """Notes on a numpy scalar."""

    __slots__ = ("content", "dtype")

    def __init__(self, dtype: Any, content: Any) -> None:
        self.dtype, self.content = dtype, content

    def __hash__(self) -> int:  # scalars may be the keys of a dictionary
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        return self.number == (other.number if isinstance(other, _Scalar) else other)

    @property
    def number(self) -> int | float | bool:
        (number,) = np.frombuffer(self.content, self.dtype.numpy)
        value: int | float | bool = number.item()
        return value


class _Tensor:
    """Notes on a `torch.Tensor`: the bytes of its storage, and its window on it."""

    __slots__ = ("offset", "shape", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def numpy(self) -> NDArray[Any]:
        import torch

        storage = torch.load(io.BytesIO(self.storage), map_location="cpu", weights_only=True)
        flat = torch.tensor([], dtype=storage.dtype).set_(storage._untyped_storage)
        array: NDArray[Any] = torch.as_strided(flat, self.shape, self.stride, self.offset).numpy()
        return array


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise _RefusedError(f"the encoding {encoding}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): lambda: None,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "scalar"): _Scalar,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): lambda content: content,
}


def _plain(value: Any) -> Any:
    """Notes turned into arrays and numbers."""
    done: dict[int, Any] = {}  # what occurs a million times is converted once

    def convert(value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise _RefusedError("dictionaries or lists within each other")
        if id(value) not in done:
            done[id(value)] = convert_new(value, depth)
        return done[id(value)]

    def convert_new(value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {convert(key, depth + 1): convert(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [convert(item, depth + 1) for item in value]
        if isinstance(value, _Array | _Tensor):
            return value.numpy()
        if isinstance(value, _Scalar):
            return value.number
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise _RefusedError(f"a {type(value).__name__.strip('_')}")

    return convert(value, 0)
