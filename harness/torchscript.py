"""Tensors of TorchScript archives, read without running the code that is in them.

`torch.jit.load` compiles an archive's code and lets its objects run their own `__setstate__`, which may call
any operator of torch, those on files too. Nothing of that is needed for weights: here the pickle inside is
read with stand-ins for every class and function that it names, attributes are followed by name, and tensors
are cut out of the archive's storages by sizes that are checked.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Never

import torch
from torch import Tensor

from harness.errors import InputError

MAX_DEPTH = 64  # modules within modules
_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


class _BrokenError(Exception):
    """The archive is not what TorchScript writes; says how."""


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive that `torch.jit.save` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # torn archives fail in many ways; what it is, the next reader says
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Names and tensors of an archive's modules, as their `state_dict` has them.

    Constants of the code are left out, and so are tensors in lists. A tensor that is no parameter and no
    buffer cannot be told from one.

    Raises:
        InputError: the file cannot be read or is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise _BrokenError(f"{len(pickles)} files data.pkl")
            content = archive.read(pickles[0])
            _check_numbers(content)
            root = _Unpickler(io.BytesIO(content)).load()
            storages = _Storages(archive, pickles[0].removesuffix("data.pkl") + "data/")
            return {name: storages.tensor(made) for name, made in _tensors(root, "", 0)}
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # a hostile or torn file may fail in any way; none of them is a fault of ours
        raise InputError(
            f"{path} is no TorchScript archive that can be read ({type(error).__name__}: {error}): "
            "fetch it again"
        ) from error


class _Stand:
    """In the place of whatever a pickle names: notes how it was called, and the state it got."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Tensor(_Stand):
    """A call of torch's function that makes a tensor of a storage."""


class _Storage(_Stand):
    """A storage that the pickle refers to."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return name
        return _Stand

    def persistent_load(self, pid: Any) -> Any:
        return _Storage(*pid)


def _check_numbers(content: bytes) -> None:
    # The unpickler allocates as many places as the highest number says.
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(content):
            _broken("a pickle with absurd numbers")


def _tensors(node: Any, name: str, depth: int) -> Iterator[tuple[str, _Tensor]]:
    """Tensors among a module's attributes and those of its modules."""
    if depth > MAX_DEPTH:
        raise _BrokenError("modules without end")
    if isinstance(node, _Tensor):
        yield name, node
    elif isinstance(node, _Stand) and isinstance(node.state, Mapping):
        for key, child in node.state.items():
            yield from _tensors(child, f"{name}.{key}" if name else str(key), depth + 1)


class _Storages:
    """Storages of an archive by key; each is read once."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive, self._folder = archive, folder
        self._read: dict[str, Tensor] = {}

    def tensor(self, made: _Tensor) -> Tensor:
        """The tensor that a call stands for."""
        storage, offset, size, stride, *_ = made.arguments
        numbers = [offset, *size, *stride]
        if not isinstance(storage, _Storage) or len(size) != len(stride):
            _broken("a tensor of something else than a storage")
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            _broken("sizes that are no numbers")
        values = self._values(storage)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if math.prod(size) and last >= len(values):
            _broken("a tensor beyond its storage")
        return values.as_strided(tuple(size), tuple(stride), offset).clone()

    def _values(self, storage: _Storage) -> Tensor:
        kind, dtype, key, *_ = storage.arguments
        if kind != "storage" or not isinstance(dtype, str) or not isinstance(key, str) or "/" in key:
            _broken("a strange storage")
        if key not in self._read:
            content = bytearray(self._archive.read(self._folder + key))
            empty = torch.zeros(0, dtype=_DTYPES[dtype])
            self._read[key] = torch.frombuffer(content, dtype=_DTYPES[dtype]) if content else empty
        return self._read[key]


def _broken(what: str) -> Never:
    raise _BrokenError(what)
