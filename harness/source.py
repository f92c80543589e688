"""Content hashes of source trees, which stage keys and image tags are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def source_files(path: Path) -> Iterator[Path]:
    """Every file of a source tree in a fixed order, or the file itself; no caches and no hidden files.

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    if not path.is_dir():
        path.stat()
        yield path
        return
    for child in sorted(path.iterdir()):
        if child.name != "__pycache__" and not child.name.startswith(".") and child.suffix != ".pyc":
            yield from source_files(child)


def source_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of the files in `paths`, in any order.

    Names count from each path's own name on (`ops/crf.py`), so two checkouts with the same content agree.

    Returns:
        64 hexadecimal digits.

    Raises:
        FileNotFoundError: there is nothing at one of the paths.
    """
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        for file in source_files(path):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(path.parent).as_posix()}\0{content}\n".encode())
    return total.hexdigest()
