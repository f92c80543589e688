"""A stage's output folder: there when its manifest is, whole when it equals its manifest.

The manifest is written last and atomically, so a folder without one counts as not there (and holds what a
killed stage resumes from).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from harness.files import canonical_json, file_sha256, write_json

Kind = Literal["checkpoint", "scores", "masks", "soft_masks", "metrics"]
MANIFEST, REPORT = "manifest.json", "report.json"
INSPECTION = "inspection.json"  # beside a checkpoint: what people can read of a network
_STAMP = ".verified.json"


class FileEntry(BaseModel):
    """One file of an artifact: size in bytes and SHA-256."""

    bytes: int
    sha256: str


def _below(name: str) -> str:
    """A name of a file below the folder `files`, and of nothing else."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError("is not the name of a file below the folder of files")
    return name


class Manifest(BaseModel):
    """What an artifact consists of."""

    contract: Literal[1] = 1
    kind: Kind
    stage: str
    key: str
    meta: dict[str, Any] = {}
    files: dict[Annotated[str, AfterValidator(_below)], FileEntry]
    report: str | None = Field(None, description="SHA-256 of report.json")
    digest: str | None = Field(None, description="SHA-256 of the canonical JSON of all fields above")

    def computed_digest(self) -> str:
        """What `digest` is if no bit of the manifest has changed."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    @property
    def content_key(self) -> str:
        """Hash of what the artifact holds (32 hex digits), whichever way that was made."""
        content = {
            "kind": self.kind,
            "meta": self.meta,
            "files": {n: e.sha256 for n, e in self.files.items()},
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Artifact:
    """An artifact folder that may or may not be complete yet."""

    folder: Path

    @property
    def files(self) -> Path:
        """Folder of the output itself."""
        return self.folder / "files"

    @property
    def state(self) -> Path:
        """Folder of what a killed stage resumes from."""
        return self.folder / "state"

    @property
    def complete(self) -> bool:
        """Whether the manifest is there (its content is checked by `problem`)."""
        return (self.folder / MANIFEST).is_file()

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ValueError: it is missing or not a manifest.
        """
        try:
            return Manifest.model_validate_json((self.folder / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise ValueError(f"no valid manifest in {self.folder}: {error}") from error

    def open(self) -> Artifact:
        """Create the folder and its parts for a stage to fill."""
        self.files.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(exist_ok=True)
        return self

    def finish(self, kind: Kind, stage: str, key: str, meta: dict[str, Any]) -> Manifest:
        """Hash the files, write the manifest (from now on the artifact is there), drop the resume state."""
        names = sorted(path.relative_to(self.files).as_posix() for path in _files_below(self.files))
        with ThreadPoolExecutor() as pool:
            hashes = list(pool.map(file_sha256, (self.files / name for name in names)))
        files = {
            name: FileEntry(bytes=(self.files / name).stat().st_size, sha256=digest)
            for name, digest in zip(names, hashes, strict=True)
        }
        report = self.folder / REPORT
        manifest = Manifest(
            kind=kind,
            stage=stage,
            key=key,
            meta=meta,
            files=files,
            report=file_sha256(report) if report.is_file() else None,
            digest=None,
        )
        manifest = manifest.model_copy(update={"digest": manifest.computed_digest()})
        self._stamp(names)
        write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"))
        # After the manifest: a kill in between must not cost a whole training.
        shutil.rmtree(self.state, ignore_errors=True)
        return manifest

    def problem(self) -> str | None:
        """What is wrong with the files compared with the manifest, or None.

        Every size is checked; a file is hashed unless its size and modification time are those of the last
        check, so a second look costs a stat per file.
        """
        try:
            manifest = self.manifest
        except ValueError as error:
            return str(error)
        if manifest.digest is not None and manifest.digest != manifest.computed_digest():
            return f"{self.folder / MANIFEST} is not what was written (its own digest differs)"
        if manifest.report is not None and not _has_digest(self.folder / REPORT, manifest.report):
            return f"{self.folder / REPORT} is missing or not what was written"
        seen = self._read_stamp()
        stale: list[str] = []
        for name, entry in manifest.files.items():
            path = self.files / name
            try:
                status = path.stat()
            except OSError:
                return f"{path} is missing"
            if status.st_size != entry.bytes:
                return f"{path} has {status.st_size} bytes instead of {entry.bytes}"
            if seen.get(name) != status.st_mtime_ns:
                stale.append(name)
        with ThreadPoolExecutor() as pool:
            hashes = pool.map(file_sha256, (self.files / name for name in stale))
            for name, digest in zip(stale, hashes, strict=True):
                if digest != manifest.files[name].sha256:
                    return f"{self.files / name} is not what was written (its SHA-256 differs)"
        if stale:
            self._stamp(manifest.files)
        return None

    def discard(self) -> None:
        """Remove the artifact; the manifest goes first, so that a kill leaves nothing that looks whole."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read_stamp(self) -> dict[str, int]:
        try:
            stamp = json.loads((self.folder / _STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # no stamp, or a broken one: everything is hashed again
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def _stamp(self, names: Iterable[str]) -> None:
        write_json(self.folder / _STAMP, {name: (self.files / name).stat().st_mtime_ns for name in names})


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


def _files_below(folder: Path) -> Iterable[Path]:
    """Finished files below a folder; half-written ones (dot files) are removed on the way."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        if path.name.startswith("."):
            path.unlink()
        else:
            yield path
