"""Files that appear whole or not at all, and hashes of what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

_CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb", *, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its place when the block ends without an error.

    With `durable` the content is on the disk before the name appears, which costs milliseconds; the
    thousands of per-image files do without (a killed process cannot leave them half-written either way).

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is then as it was before.
    """
    encoding = None if "b" in mode else "utf-8"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; results are ordinary files.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically (see `atomic_file` for the errors)."""
    with atomic_file(path, "w") as file:
        json.dump(document, file, indent=1, sort_keys=False)
        file.write("\n")


def canonical_json(document: Any) -> str:
    """The one JSON text of a document: sorted keys, no spaces; tuples become lists."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def file_digest(
    path: Path, algorithm: Literal["sha256", "md5"], progress: Callable[[int, int], None] | None = None
) -> str:
    """Checksum of a file's content as lower-case hex; `progress` is told (bytes read, bytes in all)."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if progress:
                progress(file.tell(), size)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content as lower-case hex."""
    return file_digest(path, "sha256")
