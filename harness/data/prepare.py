"""Preparing a dataset: official archives are brought, checked and unpacked, the rest is derived from them.

A dataset's recipe is a list of steps. A step notes every file that it made, with its size, in
`.prepared/<step>.json` of the dataset's folder once all are there; it is done again, for what is missing,
unless they still are. Files appear whole or not at all, so a killed preparation goes on where it stopped.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.data.official_archives import REGISTRY, OfficialArchive, official_archives, recognise
from harness.data.recipe import NOTES, Files, Job, Prepared, Recipe, Reporter, Step
from harness.download import download
from harness.errors import InputError
from harness.files import write_json
from harness.locks import locked

RECIPES = {"voc": "harness.data.voc_prepare", "coco": "harness.data.coco_recipe"}
_MB = 1_000_000


def prepare_dataset(
    dataset: str,
    root: Path,
    given: Sequence[Path],
    reporter: Reporter,
    *,
    registry: Path = REGISTRY,
    workers: int | None = None,
) -> Prepared:
    """Make a dataset at `root`; what is there already is kept.

    Two processes may do this at once: the second waits and finds the work done.

    Args:
        dataset: `voc` or `coco`.
        root: folder to make it in; created.
        given: official archives that are here already; the others are downloaded into the cache.
        reporter: told what happens.
        registry: the file of official archives.
        workers: processes; default one per core.

    Raises:
        InputError: an archive cannot be had or is not what it should be, the disk is too small, or `root`
            holds another dataset.
    """
    recipe: Recipe = import_module(RECIPES[dataset]).RECIPE
    archives = official_archives(dataset, registry)
    local: dict[str, Path] = {}
    for path in given:
        archive = recognise(path, list(archives.values()))
        local[archive.name] = path
    folder = recipe.folder(root)
    with _writing(folder):
        (folder / NOTES).mkdir(parents=True, exist_ok=True)
        with locked(
            folder / NOTES / "lock",
            lambda: reporter.say(f"another process is preparing {folder}: waiting for it"),
        ):
            preparation = _Preparation(folder, archives, local, reporter, workers or _cores())
            preparation.execute(recipe.steps)
    return Prepared(
        folder,
        recipe.rows(folder),
        [archive.cached for archive in archives.values() if archive.cached.is_file()],
        preparation.left_out,
    )


class _Preparation:
    """One dataset being made, under its lock."""

    def __init__(
        self,
        folder: Path,
        archives: Mapping[str, OfficialArchive],
        local: Mapping[str, Path],
        reporter: Reporter,
        workers: int,
    ) -> None:
        self.left_out: list[str] = []
        self._folder = folder
        self._archives = archives
        self._local = local
        self._reporter = reporter
        self._workers = workers

    def execute(self, steps: Sequence[Step]) -> None:
        todo = [step for step in steps if not self._is_done(step) and not self._is_left_out(step)]
        needed = list(dict.fromkeys(name for step in todo for name in step.archives))
        if not todo:
            self._reporter.say(f"{self._folder} is complete: nothing to do")
            return
        self._require_space(todo, needed)
        self._reporter.plan([*(self._archives[name].file for name in needed), *(step.name for step in todo)])
        files = {name: self._bring(self._archives[name]) for name in needed}
        self._remove_leftovers()
        for step in todo:
            self._run(step, {name: files[name] for name in step.archives})

    def _run(self, step: Step, archives: Mapping[str, Path]) -> None:
        note = self._note(step)
        keep = note.get("key") == self._key(step)
        if keep:
            self._remove_changed(note.get("files") or {})
        self._write_note(step, None)
        self._reporter.begin(step.name, step.title)
        made = step.run(Job(self._folder, archives, keep, self._workers, self._reporter.progress))
        self._write_note(step, made)
        self._reporter.end(f"{step.title}: {len(made):,} files")

    def _bring(self, archive: OfficialArchive) -> Path:
        """Return a checked file of the archive, downloaded if nobody gave one."""

        def on_bytes(done: int, total: int | None) -> None:
            self._reporter.progress(done // _MB, (total or archive.size) // _MB, "MB")

        path = self._local.get(archive.name, archive.cached)
        if archive.url is None or archive.name in self._local:
            self._reporter.begin(archive.file, "checking")
            archive.verify(path, on_bytes)
        else:
            self._reporter.begin(archive.file, "downloading")
            download(archive.remote(), path, on_bytes)
        how = "its checksum is right" if archive.checksum else "no checksum is published"
        self._reporter.end(f"{path} ({how})")
        return path

    def _is_done(self, step: Step) -> bool:
        note = self._note(step)
        if not note and step.adopt and (found := step.adopt(self._folder)) is not None:
            self._reporter.say(f"{step.title}: taken as they are in {self._folder}")
            self._write_note(step, found)
            return True
        files = note.get("files")
        return (
            note.get("key") == self._key(step)
            and files is not None
            and all(_bytes(self._folder / path) == size for path, size in files.items())
        )

    def _is_left_out(self, step: Step) -> bool:
        absent = [
            self._archives[name]
            for name in step.archives
            if step.by_hand and name not in self._local and not self._archives[name].cached.is_file()
        ]
        self.left_out += [f"{step.title} were left out: {archive.remedy}" for archive in absent]
        return bool(absent)

    def _key(self, step: Step) -> dict[str, Any]:
        """What the step's files depend on."""
        return {
            "rule": step.rule,
            "archives": {name: self._archives[name].checksum for name in step.archives},
        }

    def _note_path(self, step: Step) -> Path:
        return self._folder / NOTES / f"{step.name}.json"

    def _note(self, step: Step) -> dict[str, Any]:
        with suppress(OSError, ValueError):  # not there, or torn: then the step was not finished
            note = json.loads(self._note_path(step).read_text(encoding="utf-8"))
            if isinstance(note, dict):
                return note
        return {}

    def _write_note(self, step: Step, files: Files | None) -> None:
        """Note the files of a finished step; None while it is being made."""
        ordered = None if files is None else dict(sorted(files.items()))
        write_json(self._note_path(step), {"key": self._key(step), "files": ordered})

    def _remove_changed(self, files: Files) -> None:
        """Remove what somebody has cut short or replaced since, so that it is made again."""
        for name, size in files.items():
            if _bytes(self._folder / name) not in (None, size):
                (self._folder / name).unlink()

    def _remove_leftovers(self) -> None:
        """Remove half-written files of killed processes; the lock is held, so nobody is writing."""
        for leftover in self._folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def _size(self, name: str) -> int:
        archive = self._archives[name]
        return _bytes(self._local.get(name, archive.cached)) or archive.size

    def _require_space(self, steps: Sequence[Step], needed: Sequence[str]) -> None:
        there = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        grown = sum(step.growth * self._size(name) for step in steps for name in step.archives)
        wanted = {self._folder: max(0, round(grown) - there)}
        for name in needed:
            archive = self._archives[name]
            part = archive.cached.with_name(f"{archive.file}.part")
            if name not in self._local and not archive.cached.is_file():
                missing = archive.size - (_bytes(part) or 0)
                wanted[archive.cached.parent] = wanted.get(archive.cached.parent, 0) + max(0, missing)
        require_space(wanted)


def require_space(wanted: Mapping[Path, int]) -> None:
    """Check that disks can hold what is to be written.

    Args:
        wanted: bytes by folder, which need not exist yet; folders on the same disk add up.

    Raises:
        InputError: a disk is too small.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in wanted.items():
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        device = existing.stat().st_dev
        first, sum_ = disks.get(device, (existing, 0))
        disks[device] = (first, sum_ + size)
    for folder, size in disks.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise InputError(
                f"about {size / 1e9:.1f} GB more are needed on the disk of {folder}, which has "
                f"{free / 1e9:.1f} GB free: free some space, or choose another --root or, for downloads, "
                "HARNESS_CACHE"
            )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"the disk is full while {folder} is being made: free some space and run it again, it will "
                "continue where it stopped"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise InputError(
                f"cannot write {error.filename or folder} ({error.strerror}): choose another --root or "
                "change its permissions"
            ) from error
        raise


def _bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0))
