"""The registry of official archives, and telling whether a file is one of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator

from harness.data.archive import OnBytes, members
from harness.data.cache import data_cache
from harness.download import RemoteFile
from harness.errors import InputError
from harness.files import file_digest

REGISTRY = Path(__file__).with_suffix(".yaml")


class OfficialArchive(BaseModel):
    """One entry of `official_archives.yaml`, which says what the fields mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dataset: str
    file: str
    url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    obtain: str = ""
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    bytes: int | None = Field(default=None, gt=0)
    about_bytes: int | None = Field(default=None, gt=0)
    mark: str
    origin: str

    @model_validator(mode="after")
    def _obtainable(self) -> OfficialArchive:
        if self.url is None and not self.obtain:
            raise ValueError("an archive without url needs obtain")
        return self

    @property
    def algorithm(self) -> Literal["sha256", "md5"]:
        """Which checksum is known; any if none is."""
        return "md5" if self.md5 else "sha256"

    @property
    def checksum(self) -> str:
        """Hex digits of the content's checksum, or an empty string."""
        return self.md5 or self.sha256 or ""

    @property
    def size(self) -> int:
        """Bytes, exact or about; 0 if nothing is published."""
        return self.bytes or self.about_bytes or 0

    @property
    def cached(self) -> Path:
        """Where a download is kept."""
        return data_cache() / "archives" / self.file

    @property
    def remedy(self) -> str:
        """What a user can do who cannot download it, as the end of a sentence."""
        return f"{self.obtain or f'fetch {self.url} elsewhere'} and pass the file with --archive"

    def remote(self) -> RemoteFile:
        """What to download; the archive must have a url."""
        return RemoteFile(self.file, str(self.url), self.checksum, self.remedy, self.algorithm)

    def verify(self, path: Path, progress: OnBytes | None = None) -> None:
        """Check that a file is this archive: by its checksum, or by what it lists where none is known.

        Raises:
            InputError: it is another file, damaged or cut short.
        """
        size = path.stat().st_size
        if self.bytes is not None and size != self.bytes:
            raise InputError(
                f"{path} has {size:,} bytes, but the official {self.file} has {self.bytes:,}: it is cut "
                f"short or another file; {self.remedy}"
            )
        if not self.checksum:
            if not any(_is_below(member.name, self.mark) for member in members(path)):
                raise InputError(f"{path} is not {self.file}, for it has no {self.mark}; {self.remedy}")
            return
        digest = file_digest(path, self.algorithm, progress)
        if digest != self.checksum:
            raise InputError(
                f"{path} is damaged or not the official {self.file}: its {self.algorithm.upper()} is "
                f"{digest}, not {self.checksum}; {self.remedy}"
            )


def official_archives(dataset: str, registry: Path = REGISTRY) -> dict[str, OfficialArchive]:
    """Read the archives of a dataset, by name."""
    document = yaml.safe_load(registry.read_text(encoding="utf-8"))
    entries = {name: {"name": name, **entry} for name, entry in document.items()}
    archives = TypeAdapter(dict[str, OfficialArchive]).validate_python(entries)
    return {name: archive for name, archive in archives.items() if archive.dataset == dataset}


def recognise(path: Path, archives: Collection[OfficialArchive]) -> OfficialArchive:
    """Tell which of some archives a local file is: by its name, else by what it holds.

    Raises:
        InputError: it is not there, unreadable as an archive, or none of them.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check --archive")
    for archive in archives:
        if path.name == archive.file:
            return archive
    for member in members(path):
        for archive in archives:
            if _is_below(member.name, archive.mark):
                return archive
    known = ", ".join(archive.file for archive in archives)
    raise InputError(f"{path} is none of the archives that are needed ({known}): check --archive")


def _is_below(name: str, mark: str) -> bool:
    return f"/{mark}/" in f"/{name}/"
