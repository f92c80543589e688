"""The reader of MXNet's `.params` files: three generations, and nothing but one sentence for a bad file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.mxnet_params import read_params
from tests.unit.mxnet_file import CODES, array_bytes, list_bytes, params_bytes

STATE = {
    "arg:conv1a_weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "aux:bn7_moving_var": np.array([1.5, 2.5], np.float32),
}
SOUND = params_bytes(STATE)
ONE = np.zeros((2, 2), np.float32)


def read(folder: Path, content: bytes) -> dict[str, torch.Tensor]:
    path = folder / "net.params"
    path.write_bytes(content)
    return read_params(path)


@pytest.mark.parametrize("generation", ["oldest", "v1", "v2"])
def test_every_generation_is_read(tmp_path: Path, generation: str) -> None:
    found = read(tmp_path, params_bytes(STATE, generation))
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        torch.testing.assert_close(found[name], torch.from_numpy(array), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", CODES)
def test_every_type_of_number_is_read(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1], [100, 7]], dtype)
    assert torch.equal(read(tmp_path, params_bytes({"a": array}))["a"], torch.from_numpy(array))


def sparse() -> bytes:
    return struct.pack("<Ii", 0xF993FAC9, 1) + array_bytes(ONE)[8:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SOUND[:-1], "it ends in the middle of an array or name"),
        (SOUND[:60], "it ends in the middle of an array or name"),
        (b"", "it ends in the middle of an array or name"),
        (list_bytes([], [], magic=0x113), "it does not begin like a list of arrays"),
        (b"PK\x03\x04" + bytes(40), "it does not begin like a list of arrays"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60) + bytes(40), "it announces 1152921504606846976 items"),
        (list_bytes([sparse()], ["a"]), "it holds a sparse array"),
        (list_bytes([array_bytes(ONE, code=7)], ["a"]), "it holds an array of unknown type 7"),
        (list_bytes([array_bytes(ONE, code=-1)], ["a"]), "it holds an array of unknown type -1"),
        (
            list_bytes([struct.pack("<IiIqiii", 0xF993FAC9, 0, 1, -4, 1, 0, 0)], ["a"]),
            r"it holds an array of shape \(-4,\)",
        ),
        (
            list_bytes([struct.pack("<IiIqqiii", 0xF993FAC9, 0, 2, 1 << 40, 1 << 40, 1, 0, 0)], ["a"]),
            "it ends in the middle",
        ),
        (list_bytes([struct.pack("<I", 400)], ["a"]), "it holds an array of 400 dimensions"),
        (list_bytes([array_bytes(ONE)] * 2, ["a"]), "it has 2 arrays and 1 distinct names"),
        (list_bytes([array_bytes(ONE)] * 2, ["a", "a"]), "it has 2 arrays and 1 distinct names"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(
        InputError, match=rf"net\.params is no whole MXNet .params file: .*{message}"
    ) as error:
        read(tmp_path, content)
    assert str(error.value).endswith("fetch it again")
    assert "\n" not in str(error.value)


def test_a_name_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no whole MXNet \.params file"):
        read(tmp_path, SOUND[:-1] + b"\xff")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.params: No such file"):
        read_params(tmp_path / "absent.params")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(SOUND) - 1),
    piece=st.binary(min_size=1, max_size=12),
    end=st.integers(0, len(SOUND)),
)
def test_no_damage_raises_anything_else(tmp_path: Path, at: int, piece: bytes, end: int) -> None:
    damaged = (SOUND[:at] + piece + SOUND[at + len(piece) :])[:end]
    try:
        found = read(tmp_path, damaged)
    except InputError:
        return
    assert len(found) <= len(STATE)
