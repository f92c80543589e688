"""Facts about thousands of files, learned in parallel and remembered by size and modification time.

A dataset's fingerprint, its preflight check and its verification stand on the same facts, so that the others
cost nothing after the first, and none costs more than a `stat` per file when nothing has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import InputError
from harness.files import atomic_file

Fact = Any  # JSON: numbers, strings and lists of them
Learn = Callable[[Path], Fact]
OnProgress = Callable[[int, int], None]

_CHUNK = 64  # files per task
# Nanoseconds in which a file can change and keep its time: the coarsest tick of a file system (FAT's).
_TICK = 2_000_000_000
_UNKNOWN: Any = object()


class FileFacts:
    """Facts about the files of one folder.

    Several processes may use the same store: each adds what it learned to what it then finds there. Where two
    write in the same moment the facts of one are lost, which costs time only, as does losing the store, a
    store that cannot be written, or one that another version wrote.

    Args:
        root: the folder; files below it are remembered relative to it.
        store: folder with a JSON file per kind of fact, which remembers between processes.
    """

    VERSION = 3  # of what is learned: raise it with every change to a fact's content

    def __init__(self, root: Path, store: Path) -> None:
        self._root = f"{root}{os.sep}"
        self._store = store
        self._known: dict[str, dict[str, list[Any]]] = {}

    def learn(
        self, kind: str, paths: Sequence[Path], learn: Learn, progress: OnProgress | None = None
    ) -> list[Fact]:
        """Return one fact per path, in order; arguments as of `gather`.

        Raises:
            InputError: of the first bad file in order, with the number of the others.
        """
        return whole(self.gather(kind, paths, learn, progress))

    def gather(
        self, kind: str, paths: Sequence[Path], learn: Learn, progress: OnProgress | None = None
    ) -> list[Fact | InputError]:
        """Return one fact per path, in order, or the error of a bad file, which is not remembered.

        Args:
            kind: names what is learned; the same file may be asked for several kinds.
            learn: thread-safe function of a path; raises InputError where the file is bad.
            progress: told (done, total) while files are read; not at all where none is.
        """
        known = self._load(kind)
        names = [os.fspath(path).removeprefix(self._root) for path in paths]
        looked = time.time_ns()
        with ThreadPoolExecutor(_workers()) as pool:
            stamps = list(chain.from_iterable(pool.map(_stamps, _chunks(paths))))
            facts = [
                known[name][1] if stamp and name in known and known[name][0] == stamp.text else _UNKNOWN
                for name, stamp in zip(names, stamps, strict=True)
            ]
            todo = [i for i, fact in enumerate(facts) if fact is _UNKNOWN]
            tasks = pool.map(lambda part: [attempt(learn, paths[i]) for i in part], _chunks(todo))
            fresh: dict[str, list[Any]] = {}
            try:
                for done, (i, fact) in enumerate(zip(todo, chain.from_iterable(tasks), strict=True), start=1):
                    facts[i], stamp = fact, stamps[i]
                    settled = stamp is not None and stamp.changed < looked - _TICK
                    if stamp is not None and settled and not isinstance(fact, InputError):
                        fresh[names[i]] = [stamp.text, fact]
                    if progress and (done % _CHUNK == 0 or done == len(todo)):
                        progress(done, len(todo))
            finally:  # an interrupted check keeps what it has learned
                pool.shutdown(wait=False, cancel_futures=True)
                self._remember(kind, fresh)
        return facts

    def _load(self, kind: str) -> dict[str, list[Any]]:
        if kind not in self._known:
            self._known[kind] = self._stored(kind)
        return self._known[kind]

    def _stored(self, kind: str) -> dict[str, list[Any]]:
        with contextlib.suppress(OSError, ValueError):  # absent or torn: learn anew
            document = json.loads(self._file(kind).read_bytes())
            if isinstance(document, dict) and document.get("version") == self.VERSION:
                return document["facts"]
        return {}

    def _remember(self, kind: str, fresh: dict[str, list[Any]]) -> None:
        if not fresh:
            return
        # Another process may have learned of other files meanwhile.
        self._known[kind] = self._known[kind] | self._stored(kind) | fresh
        document = json.dumps({"version": self.VERSION, "facts": self._known[kind]}, separators=(",", ":"))
        with contextlib.suppress(OSError):  # a read-only or full cache folder must not stop a run
            self._store.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._file(kind), durable=False) as file:
                file.write(document.encode())

    def _file(self, kind: str) -> Path:
        return self._store / f"{kind}.json"


def attempt(learn: Callable[[Any], Fact], subject: Any) -> Fact | InputError:
    """Return what is learned of a subject, or the error that tells what is wrong with it."""
    try:
        return learn(subject)
    except InputError as error:
        return error


def whole(facts: list[Any]) -> list[Any]:
    """Return facts if nothing among them is an error.

    Raises:
        InputError: the first error among them, with the number of the others.
    """
    raise_first([fact for fact in facts if isinstance(fact, InputError)])
    return facts


def raise_first(failures: Sequence[InputError]) -> None:
    """Raise the first of some failures, with the number of other sentences; nothing where there is none."""
    others = len({str(failure) for failure in failures}) - 1
    if others > 0:
        raise InputError(f"{failures[0]} (and {others} more like it)")
    if failures:
        raise failures[0]


def content_hash(lines: Iterable[str]) -> str:
    """Return the BLAKE2b hash, 32 hex digits, of lines of text."""
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def bytes_hash(content: bytes) -> str:
    """Return the BLAKE2b hash, 32 hex digits, of some bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class _Stamp(NamedTuple):
    """What tells that a file is the same as before, and when it was changed, in nanoseconds."""

    text: str
    changed: int


def _stamps(paths: Sequence[Path]) -> list[_Stamp | None]:
    """Return a stamp per file, None for one that is not there."""
    stamps: list[_Stamp | None] = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116  twice as fast as Path.stat
        except OSError:
            stamps.append(None)
        else:
            stamps.append(_Stamp(f"{found.st_size} {found.st_mtime_ns}", found.st_mtime_ns))
    return stamps


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _workers() -> int:
    # Decoding and hashing leave Python's lock; a few more threads than cores hide the disk's latency.
    return 2 * len(os.sched_getaffinity(0))
