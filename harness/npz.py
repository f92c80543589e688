"""Reading arrays from `.npz` archives as fast as the file can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

_LOCAL_HEADER = 30  # bytes before the name, with the lengths of name and extra field in the last four
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read some arrays of an archive, or all; pickled objects are refused.

    Arrays that are stored without compression, as `numpy.savez` does, go from the file into memory at once.
    Their checksums are not computed, which takes `numpy.load` most of its time: artifacts have hashes in
    their manifest.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no archive, or an array is not there, cut off or holds objects.
    """
    try:
        with path.open("rb") as file, ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [name for name in names or () if name not in members]:
                raise ValueError(f"{path} has no array {missing[0]}")
            return {name: _read_member(file, archive, members[name]) for name in names or members}
    except BadZipFile as error:
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
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:
        raise ValueError(f"{info.filename} is of version {version}, which is not known")
    shape, fortran, dtype = _READ_HEADER[version](file)
    count = int(np.prod(shape))
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds pickled objects, which are not loaded")
    if file.tell() - start + count * dtype.itemsize != info.file_size:
        raise ValueError(f"{info.filename} is cut off")
    return np.fromfile(file, dtype, count).reshape(shape, order="F" if fortran else "C")
