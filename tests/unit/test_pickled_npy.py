"""Dictionaries of other codes are read, and nothing that their pickles ask for is ever called."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.pickled_npy import read_npy
from harness.errors import InputError


def write(path: Path, value: Any) -> Path:
    np.save(path, value, allow_pickle=True)
    return path


def write_pickle(path: Path, body: bytes) -> Path:
    """A `.npy` file of dtype object with this pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(file.getvalue() + body)
    return path


def as_array(value: Any) -> np.ndarray:
    array = np.empty((), object)
    array[()] = value
    return array


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64", "bool", ">f4"])
def test_dictionaries_of_arrays_come_back_as_they_were(tmp_path: Path, dtype: str) -> None:
    maps = {3: np.arange(12).reshape(3, 4).astype(dtype), np.int64(7): np.ones((3, 4), dtype, order="F")}
    found = read_npy(write(tmp_path / "a.npy", maps))
    assert list(found) == [3, 7]
    assert all(type(key) is int for key in found)
    assert all(np.array_equal(found[key], maps[key]) and found[key].dtype == dtype for key in found)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_files_of_any_version_of_numpy_are_read(tmp_path: Path, protocol: int, core: bytes) -> None:
    value = {0: np.arange(6, dtype=np.float32).reshape(2, 3), "name": "x", "n": [1, 2.5, None, True]}
    body = pickle.dumps(as_array(value), protocol)
    if protocol < 4:  # names are lines of text there
        body = body.replace(b"cnumpy._core.", b"c" + core + b".")
    found = read_npy(write_pickle(tmp_path / "a.npy", body))
    assert np.array_equal(found.pop(0), value.pop(0))
    assert found == value


def test_tensors_become_arrays(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    found = read_npy(write(tmp_path / "a.npy", {"keys": torch.tensor([3, 5]), "cam": whole[:, 1:, ::2]}))
    assert np.array_equal(found["keys"], [3, 5])
    assert np.array_equal(found["cam"], whole[:, 1:, ::2].numpy())


def test_plain_arrays_and_dictionaries_by_name_are_read_too(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((3, 4, 5))
    assert np.array_equal(read_npy(write(tmp_path / "a.npy", scores)), scores)
    labels = {f"2007_{i:06}": np.eye(20, dtype=np.float32)[i % 20] for i in range(50)}
    found = read_npy(write(tmp_path / "b.npy", labels))
    assert found.keys() == labels.keys()
    assert all(np.array_equal(found[name], labels[name]) for name in labels)


class Calls:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (np.load, "numpy.load"),
        (torch.load, "torch.serialization.load"),
        (os.mkdir, "posix.mkdir"),
    ],
)
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(
    tmp_path: Path, function: Any, name: str
) -> None:
    target = str(tmp_path / "made")
    path = write(tmp_path / "a.npy", {0: Calls(function, target)})
    with pytest.raises(InputError, match=f"a.npy holds a call of {name}, but only arrays"):
        read_npy(path)
    assert not Path(target).exists()


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict,  # a class by name
        {0: np.array([1, "a", None], dtype=object)},
        {0: np.array(["text"])},
        {0: np.zeros(2, dtype=[("a", "f4")])},
        {0: {1: {2: {3: 4}}}},
        {0: {1, 2}},
        {0: 1j},
        {0: b"bytes"},
    ],
    ids=repr,
)
def test_other_values_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match=r"a\.npy"):
        read_npy(write(tmp_path / "a.npy", value))


def array_pickle(state: bytes) -> bytes:
    """An array without dimensions whose state is pushed by these opcodes."""
    return b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n(K\x00tR" + state + b"b."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no .npy file"),
        (b"\x80\x03}.", "holds no array"),
        (pickle.dumps(as_array({0: 1}))[:-20], "no .npy file"),
        (b"\x80\x03\x8a\xff", "no .npy file"),  # a length without content
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b".", "no .npy file"),  # 2^60 bytes promised
        (b"\x80\x03}r\xff\xff\xff\x7f.", "absurd numbers"),  # a memo of 2^31 places
        (b"\x80\x03Pname\n.", "opcode PERSID"),
        (b"\x80\x02cos\nsystem\n\x81.", "opcode NEWOBJ"),
        (b"(S'echo'\nios\nsystem\n.", "opcode"),
        (b"\x80\x03cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "a state for a function"),
        # The flags of this dtype say that its objects are plain bytes, which would be taken for addresses.
        (
            array_pickle(
                b"(K\x01)cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR"
                b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x08AAAAAAAAt"
            ),
            "an array of objects",
        ),
    ],
)
def test_forged_pickles_are_one_sentence(tmp_path: Path, body: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_npy(write_pickle(tmp_path / "a.npy", body))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.npy", {0: np.zeros((4, 4), np.float32)})
    monkeypatch.setattr("harness.data.pickled_npy.MAX_BYTES", 100)
    with pytest.raises(InputError, match="bytes, more than 100"):
        read_npy(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*a\.npy \(No such file"):
        read_npy(tmp_path / "a.npy")
