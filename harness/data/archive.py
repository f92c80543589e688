"""Reading of tar, tgz and zip archives from outside: names are distrusted, links and devices refused.

Archives are read from front to back in small pieces, so memory does not depend on their size.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import InputError
from harness.files import atomic_file

OnBytes = Callable[[int, int], None]
"""Called with the bytes of the archive that were read and its size."""

Wanted = Callable[[str], str | None]
"""Says where a member's file goes, relative to a folder; None leaves the member out."""

_CHUNK = 1 << 20  # bytes
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # what a zip archive of another kind is answered with: encrypted, compressed in a new way
    ValueError,  # fields that are no numbers
    LookupError,  # names of no letters
)
_NO_PLACE = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)


@dataclass(frozen=True)
class Member:
    """Something in an archive that is not a folder.

    Attributes:
        archive: the archive's path.
        name: path in the archive; it is relative and stays below its start.
        size: bytes of the content.
        kind: `file`, or what else it is, with its article.
    """

    archive: Path
    name: str
    size: int
    kind: str
    _open: Callable[[], IO[bytes]]

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in order. Must be used up before the next member is asked for.

        Raises:
            InputError: it is no plain file, or the archive is damaged here.
        """
        if self.kind != "file":
            raise InputError(
                f"the archive {self.archive} holds {self.name} as {self.kind}, where a plain file belongs: "
                "fetch it again from its official source"
            )
        with _reading(self.archive, self.name), self._open() as stream:
            while piece := stream.read(_CHUNK):
                yield piece

    def content(self) -> bytes:
        """Return the whole content, for small files (errors as `pieces`)."""
        return b"".join(self.pieces())


def members(archive: Path, progress: OnBytes | None = None) -> Iterator[Member]:
    """Yield what is in an archive, folders left out, in its order.

    Raises:
        InputError: no readable archive, cut short, or a name that is absolute or leads outside.
    """
    try:
        raw = archive.open("rb")
    except OSError as error:
        raise InputError(f"cannot read the archive {archive}: {error.strerror}") from error
    with raw, _reading(archive, ""):
        read = _zip_members if raw.read(2) == b"PK" else _tar_members
        raw.seek(0)
        yield from read(archive, raw, progress or (lambda done, total: None))


def extract(
    archive: Path, wanted: Wanted, folder: Path, progress: OnBytes | None = None, *, keep: bool = False
) -> dict[str, int]:
    """Unpack some members; each file appears whole or not at all, and nothing outside `folder` is touched.

    Args:
        archive: tar, tar.gz or zip.
        wanted: chooses members and names their files.
        folder: exists.
        progress: told how far the archive was read.
        keep: leave files alone that are there with the right size.

    Returns:
        Bytes of every file that was wanted, by its path relative to `folder`.

    Raises:
        InputError: the archive is damaged, or a wanted member is a link, a device, there twice or would be
            written outside.
    """
    files: dict[str, int] = {}
    ready: set[Path] = set()
    for member in members(archive, progress):
        place = wanted(member.name)
        if place is None:
            continue
        if place in files:
            raise InputError(f"the archive {archive} holds {member.name} twice: fetch it again")
        target = folder / place
        if target.parent not in ready:
            inside(folder, place)
            ready.add(target.parent)
        if not (keep and member.kind == "file" and _bytes(target) == member.size):
            _write(member, target)
        files[place] = member.size
    return files


def _write(member: Member, target: Path) -> None:
    """Unpack one member.

    Raises:
        InputError: the archive is damaged, or no file can have that name.
    """
    try:
        with atomic_file(target, durable=False) as file:
            for piece in member.pieces():
                file.write(piece)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise InputError(
            f"the archive {member.archive} holds {member.name[:80]}, which cannot be a file here "
            f"({error.strerror}): fetch it again from its official source"
        ) from error


def inside(folder: Path, place: str) -> Path:
    """Return the path of a file to write below `folder`, whose parent folder is made.

    Raises:
        InputError: a link on the way leads outside of `folder`, or a file stands where a folder belongs.
    """
    target = folder / place
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{target.parent} is a link that leads outside of {folder}, where nothing may be written: "
            "replace it by a folder"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"{target} cannot be written, because a file has the name of its folder: remove that file"
        ) from error
    return target


def _tar_members(archive: Path, raw: IO[bytes], progress: OnBytes) -> Iterator[Member]:
    size = archive.stat().st_size
    with tarfile.open(fileobj=raw, mode="r|*") as tar:
        for info in tar:
            progress(raw.tell(), size)
            name = _safe_name(archive, info.name)
            if not info.isdir():
                yield Member(archive, name, info.size, _tar_kind(info), _tar_opener(tar, info))
    progress(size, size)


def _tar_opener(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opener() -> IO[bytes]:
        stream = tar.extractfile(info)
        assert stream is not None  # of plain files it never is
        return stream

    return opener


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isreg():
        return "file"
    return "a link" if info.issym() or info.islnk() else "a device"


def _zip_members(archive: Path, raw: IO[bytes], progress: OnBytes) -> Iterator[Member]:
    size = archive.stat().st_size
    with zipfile.ZipFile(raw) as bundle:
        for info in bundle.infolist():
            progress(info.header_offset, size)
            name = _safe_name(archive, info.filename)
            if not info.is_dir():
                yield Member(archive, name, info.file_size, _zip_kind(info), _zip_opener(bundle, info))
    progress(size, size)


def _zip_opener(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: bundle.open(info)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)  # zero where a zip was not made on Unix
    if info.flag_bits & 1:
        return "an encrypted file"
    return "file" if kind in (0, stat.S_IFREG) else "a link" if kind == stat.S_IFLNK else "a device"


def _safe_name(archive: Path, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"the archive {archive} holds {name!r}, which leads outside of the folder it is unpacked in: "
            "fetch it again from its official source"
        )
    return str(path)


@contextlib.contextmanager
def _reading(archive: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk
            raise
        where = f" at {name}" if name else ""
        raise InputError(
            f"the archive {archive} cannot be read{where} ({error}): it is damaged or cut short, fetch it "
            "again"
        ) from error


def _bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
