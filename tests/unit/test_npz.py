from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.npz import read_npz

ARRAYS = {
    "keys": np.array([2, 5]),
    "maps": np.random.default_rng(0).random((2, 7, 9), dtype=np.float32),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "nothing": np.zeros((0, 4, 5), np.float32),
    "scalar": np.array(3.5),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_wrote(tmp_path: Path, save: object) -> None:
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    found = read_npz(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_some_arrays_can_be_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert list(read_npz(tmp_path / "a.npz", ("maps", "keys"))) == ["maps", "keys"]
    with pytest.raises(ValueError, match="no array other"):
        read_npz(tmp_path / "a.npz", ("other",))


def test_what_is_no_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    np.savez(whole, **ARRAYS)
    torn = tmp_path / "torn.npz"
    torn.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match="no whole archive"):
        read_npz(torn)
    np.savez(tmp_path / "pickled.npz", keys=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        read_npz(tmp_path / "pickled.npz")
    content = bytearray(whole.read_bytes())
    place = content.index(b"(2, 7, 9)")
    content[place : place + 9] = b"(2, 7, 8)"
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"maps.npy is cut off"):
        read_npz(tmp_path / "other.npz")
