"""Reading arrays from `.npz` archives as fast as the file can be read."""

from __future__ import annotations

import errno
import functools
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

_LOCAL_HEADER = 30  # bytes before the name, with the lengths of name and extra field in the last four
_MAGIC = 8  # bytes: numpy's mark and the version
_HEADERS = {
    1: (2, np.lib.format.read_array_header_1_0),
    2: (4, np.lib.format.read_array_header_2_0),
}  # version: bytes of the header's length, and what reads it


class Header(NamedTuple):
    """What stands before the numbers of an array in a file."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def read_header(file: IO[bytes]) -> Header:
    """Read the head of an array in numpy's format; `file` is at its first number then.

    Raises:
        ValueError: there is none.
    """
    magic = file.read(_MAGIC)
    if len(magic) < _MAGIC or magic[6] not in _HEADERS:
        raise ValueError("there is no array in numpy's format 1 or 2")
    length = file.read(_HEADERS[magic[6]][0])
    return _parse_header(magic + length + file.read(int.from_bytes(length, "little")))


@functools.lru_cache(maxsize=1024)
def _parse_header(head: bytes) -> Header:
    """Parse a head; images have few sizes, so most heads were seen before."""
    file = io.BytesIO(head)
    major, _ = np.lib.format.read_magic(file)
    return Header(*_HEADERS[major][1](file))


def read_npz(
    path: Path, names: Sequence[str] | None = None, *, max_bytes: int | None = None
) -> dict[str, NDArray[Any]]:
    """Read some arrays of an archive, or all; pickled objects are refused.

    Arrays that are stored without compression, as `numpy.savez` does, go from the file into memory at once.
    Their checksums are not computed, which takes `numpy.load` most of its time: artifacts have hashes in
    their manifest.

    Args:
        names: the arrays to read; default: all.
        max_bytes: refuse an archive whose arrays take more.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no archive or too large, or an array is not there, cut off or holds objects.
    """
    try:
        with path.open("rb") as file, ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            size = sum(info.file_size for info in members.values())
            if max_bytes is not None and size > max_bytes:
                raise ValueError(f"{path} unpacks to {size} bytes, more than {max_bytes}")
            if missing := [name for name in names or () if name not in members]:
                raise ValueError(f"{path} has no array {missing[0]}")
            return {name: _read_member(file, archive, members[name]) for name in names or members}
    except ValueError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of the disk; these are of places that files have not
            raise
        raise ValueError(f"{path} is no whole archive ({error})") from error
    except Exception as error:  # zip files and numpy's heads can be broken in many ways
        raise ValueError(f"{path} is no whole archive ({error})") from error


def _read_member(file: IO[bytes], archive: ZipFile, info: ZipInfo) -> NDArray[Any]:
    if info.compress_type != ZIP_STORED:
        with archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))
    file.seek(info.header_offset)
    local = file.read(_LOCAL_HEADER)
    lengths = int.from_bytes(local[-4:-2], "little") + int.from_bytes(local[-2:], "little")
    file.seek(lengths, 1)
    start = file.tell()
    shape, fortran, dtype = read_header(file)
    count = math.prod(shape)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds pickled objects, which are not loaded")
    end = start + info.file_size
    if file.tell() + count * dtype.itemsize != end or end > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{info.filename} is cut off")
    return np.fromfile(file, dtype, count).reshape(shape, order="F" if fortran else "C")
