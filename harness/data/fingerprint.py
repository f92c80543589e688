"""Facts about thousands of files, learned in parallel and remembered by size and modification time.

A dataset's fingerprint and its preflight check stand on the same facts, so that the second costs nothing
after the first, and both cost no more than a `stat` per file when nothing has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.files import write_json

Fact = Any  # JSON: numbers, strings and lists of them
Learn = Callable[[Path], Fact]
OnProgress = Callable[[int, int], None]

_CHUNK = 64  # files per task


class FileFacts:
    """Facts about the files of one folder.

    Args:
        root: the folder; files are remembered relative to it.
        store: JSON file that remembers facts between processes. Losing it costs time only. A store that
            cannot be written, or that another version wrote, is done without.
    """

    VERSION = 1

    def __init__(self, root: Path, store: Path) -> None:
        self._root = root
        self._store = store
        self._known: dict[str, list[Any]] | None = None

    def learn(
        self, kind: str, paths: Sequence[Path], learn: Learn, progress: OnProgress | None = None
    ) -> list[Fact]:
        """Return one fact per path, in order.

        Args:
            kind: names what is learned; the same file may be asked for several kinds.
            learn: thread-safe function of a path; raises InputError where the file is bad.
            progress: told (done, total) while files are read.

        Raises:
            InputError: of the first bad file in order, with the number of the others.
        """
        known = self._load()
        keys = [f"{kind}:{os.path.relpath(path, self._root)}" for path in paths]
        failures: list[InputError] = []
        facts: dict[int, Fact] = {}
        with ThreadPoolExecutor(_workers()) as pool:
            stamps = list(chain.from_iterable(pool.map(_stamps, _chunks(paths))))
            todo: list[int] = []
            for i, (key, stamp) in enumerate(zip(keys, stamps, strict=True)):
                if stamp is not None and key in known and known[key][0] == stamp:
                    facts[i] = known[key][1]
                else:
                    todo.append(i)
            fresh = pool.map(lambda part: [_attempt(learn, paths[i]) for i in part], _chunks(todo))
            for done, (i, fact) in enumerate(zip(todo, chain.from_iterable(fresh), strict=True), start=1):
                facts[i] = fact
                if isinstance(fact, InputError):
                    failures.append(fact)
                else:
                    known[keys[i]] = [stamps[i], fact]
                if progress and (done % _CHUNK == 0 or done == len(todo)):
                    progress(done, len(todo))
        if todo:
            self._save(known)
        raise_first(failures)
        return [facts[i] for i in range(len(paths))]

    def _load(self) -> dict[str, list[Any]]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ValueError):  # absent or torn: learn anew
                document = json.loads(self._store.read_text(encoding="utf-8"))
                if isinstance(document, dict) and document.get("version") == self.VERSION:
                    self._known = document["facts"]
        return self._known

    def _save(self, known: dict[str, list[Any]]) -> None:
        with contextlib.suppress(OSError):  # a read-only or full cache folder must not stop a run
            self._store.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._store, {"version": self.VERSION, "facts": known})


def raise_first(failures: Sequence[InputError]) -> None:
    """Raise the first of some failures, with the number of the others; nothing where there is none."""
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise InputError(f"{failures[0]} (and {len(failures) - 1} more like it)")


def content_hash(lines: Iterable[str]) -> str:
    """Return the BLAKE2b hash, 32 hex digits, of lines of text."""
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def bytes_hash(content: bytes) -> str:
    """Return the BLAKE2b hash, 32 hex digits, of some bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _attempt(learn: Learn, path: Path) -> Fact:
    try:
        return learn(path)
    except InputError as error:
        return error


def _stamps(paths: Sequence[Path]) -> list[str | None]:
    """Return "size mtime" per file, None for one that is not there."""
    stamps: list[str | None] = []
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append(f"{found.st_size} {found.st_mtime_ns}")
    return stamps


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _workers() -> int:
    # Decoding and hashing leave Python's lock; a few more threads than cores hide the disk's latency.
    return 2 * len(os.sched_getaffinity(0))
