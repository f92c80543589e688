"""Initial weights by name: the registry `methods/weights.yaml`, the cache, reading of foreign files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from harness.errors import InputError, nearest
from harness.files import atomic_file, file_sha256, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from harness.conversion import Conversion, Converter
    from harness.download import Progress

_log = logging.getLogger(__name__)
_WRAPPERS = ("state_dict", "model")

Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$", min_length=8, max_length=64)]


class WeightsEntry(BaseModel):
    """One file of weights that somebody published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    file: str = Field(default="", description="name in the cache folder; default: the last part of the url")
    obtain: str | None = Field(
        default=None, description="how to get it by hand; entries without a url need it"
    )
    sha256: Annotated[Hex, StringConstraints(min_length=64)] | None = None
    sha256_prefix: Hex | None = Field(default=None, description="leading digits, where no more are published")
    bytes: int | None = Field(default=None, gt=0, description="exact size")
    about_bytes: int | None = Field(default=None, gt=0, description="size as published, rounded")
    licence: str
    origin: str
    layout: str | None = Field(default=None, description="converter into our names; null: already ours")
    used_by: list[str] = []

    @model_validator(mode="after")
    def _obtainable(self) -> WeightsEntry:
        if self.url is None and not (self.obtain and self.file):
            raise ValueError("an entry without url needs file and obtain")
        if self.url is not None and not self.checksum:
            raise ValueError("an entry with url needs sha256 or sha256_prefix")
        if PurePosixPath(self.filename).name != self.filename:
            raise ValueError("file must be a plain name")
        return self

    @property
    def filename(self) -> str:
        """Name of the file in the cache folder."""
        return self.file or PurePosixPath(urlsplit(self.url or "").path).name

    @property
    def checksum(self) -> str:
        """All that is known of the content's SHA-256: 64 digits, fewer, or none."""
        return self.sha256 or self.sha256_prefix or ""


class ResolvedWeights(BaseModel):
    """A file of weights that is there."""

    model_config = ConfigDict(frozen=True)

    name: str
    path: Path
    sha256: str = Field(description="of the file's content")
    source: Literal["registry", "local file"]
    layout: str | None = Field(description="converter into our names; None: already ours")


class Weights(BaseModel):
    """The registry: what `methods/weights.yaml` lists."""

    entries: dict[str, WeightsEntry]

    @classmethod
    def load(cls, path: Path) -> Weights:
        """Read a registry file.

        Raises:
            InputError: it is missing or an entry is not as `WeightsEntry` wants it.
        """
        try:
            return cls(entries=yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except OSError as error:
            raise InputError(f"cannot read the weights registry {path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][1:])
            raise InputError(f"the weights registry {path} is wrong at {place}: {first['msg']}") from error

    def entry(self, name: str) -> WeightsEntry:
        """The entry of this name.

        Raises:
            InputError: there is none.
        """
        if name not in self.entries:
            raise InputError(
                f"unknown weights '{name}'{nearest(name, self.entries)}: `harness weights list` shows all"
            )
        return self.entries[name]

    def resolve(
        self,
        name: str,
        override: Path | str | None = None,
        *,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> ResolvedWeights | None:
        """Where the weights are, after a download if need be.

        Args:
            name: entry of the registry.
            override: `none` to start from random numbers, or a local file in the entry's layout.
            cache: folder of downloads; default `cache_folder()`.
            progress: told about a download.

        Returns:
            None for random numbers.

        Raises:
            InputError: unknown name, no such local file, or it cannot be downloaded.
        """
        entry = self.entry(name)
        if override == "none":
            return None
        if override is None:
            return self.fetch(name, cache=cache, progress=progress)
        path = Path(override).expanduser().resolve()
        if not path.is_file():
            raise InputError(f"the file of weights '{name}' is not there: {path}; check --weights")
        digest = content_sha256(path, cache or cache_folder())
        return ResolvedWeights(name=name, path=path, sha256=digest, source="local file", layout=entry.layout)

    def cached(self, name: str, *, cache: Path | None = None) -> ResolvedWeights | None:
        """The weights if they lie in the cache folder with the right checksum; never downloads."""
        entry = self.entry(name)
        folder = cache or cache_folder()
        path = folder / entry.filename
        if not path.is_file():
            return None
        digest = content_sha256(path, folder)
        if not digest.startswith(entry.checksum):
            return None
        return ResolvedWeights(name=name, path=path, sha256=digest, source="registry", layout=entry.layout)

    def fetch(
        self, name: str, *, cache: Path | None = None, progress: Progress | None = None
    ) -> ResolvedWeights:
        """The weights in the cache folder, downloaded if they are not there or do not have their checksum.

        Raises:
            InputError: unknown name, or the file cannot be had; says where to put one by hand.
        """
        from harness.download import RemoteFile, download  # the HTTP stack takes a while to import

        if found := self.cached(name, cache=cache):
            return found
        entry = self.entry(name)
        path = (cache or cache_folder()) / entry.filename
        by_hand = (
            f"put the file at {path}, name another one with --weights {name}=FILE, or use --weights none"
        )
        if entry.url is None:
            state = "do not have their checksum" if path.exists() else "cannot be downloaded automatically"
            raise InputError(f"weights '{name}' {state}: {entry.obtain}; then {by_hand}")
        remote = RemoteFile(f"weights '{name}'", entry.url, entry.checksum, by_hand)
        digest = download(remote, path, progress)
        return ResolvedWeights(name=name, path=path, sha256=digest, source="registry", layout=entry.layout)


def cache_folder() -> Path:
    """Folder of downloaded weights: `$HARNESS_CACHE/weights`, else in the user's cache folder."""
    given = os.environ.get("HARNESS_CACHE")
    return (Path(given).expanduser() if given else platformdirs.user_cache_path("wsss-harness")) / "weights"


def content_sha256(path: Path, cache: Path) -> str:
    """SHA-256 of a file, read from the disk only when its size or time of change is new.

    Args:
        path: the file.
        cache: folder whose `digests` remembers the hashes; may be read-only.
    """
    status = path.stat()
    memo = cache / "digests" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    known = {"path": str(path.resolve()), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    # A memo that is missing, damaged or cannot be written costs a second of hashing, nothing else.
    with contextlib.suppress(OSError, ValueError):
        document = json.loads(memo.read_text(encoding="utf-8"))
        if isinstance(document, dict) and known.items() <= document.items():
            return str(document["sha256"])
    digest = file_sha256(path)
    with contextlib.suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_json(memo, {**known, "sha256": digest})
    return digest


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors without running anything that is in it.

    MXNet's `.params` files and TorchScript archives are read, too. Unwraps `{"state_dict": ...}` and
    `{"model": ...}`; what stood beside them is logged. Names stay as they are in the file.

    Raises:
        InputError: unreadable, holds objects other than tensors and plain containers, or is no state dict.
    """
    import torch

    from harness.mxnet_params import read_params
    from harness.torchscript import is_torchscript, read_torchscript

    if path.suffix == ".params":
        return read_params(path)
    if is_torchscript(path):
        return read_torchscript(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # broken files make torch's reader stumble in many ways
        raise InputError(_unreadable(path, str(error))) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            beside = [str(name) for name in content if name != wrapper]
            if beside:
                _log.info("%s: took '%s' and left %s", path, wrapper, ", ".join(beside))
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds no state dict: give a file of named tensors")
    foreign = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if foreign:
        raise InputError(
            f"{path} holds {len(foreign)} entries that are not tensors ({', '.join(foreign[:3])}): "
            "give a file with the network's state dict only"
        )
    return {str(name): tensor.detach() for name, tensor in content.items()}


def _unreadable(path: Path, message: str) -> str:
    if match := re.search(r"GLOBAL ([\w.]+)", message):
        return (
            f"{path} holds code or objects ({match[1]}) beside tensors, which is refused because unpacking "
            "it could run anything: save its state dict alone, in a place where you trust it"
        )
    return (
        f"{path} is not a PyTorch checkpoint of plain tensors: it may be cut short or of another format; "
        "fetch it again"
    )


def convert_file(
    converter: Converter, source: Path, target: Path, *, report_only: bool = False
) -> Conversion:
    """Convert a checkpoint file and write the result as a plain state dict, if nothing is left over.

    Args:
        converter: turns the file's names into ours; see `harness.conversion.CONVERTERS`.
        source: the authors' file; read without running anything in it.
        target: file to write; only replaced by a whole one.
        report_only: convert and return the account, but neither judge it nor write.

    Returns:
        What the converter made of the file.

    Raises:
        InputError: unreadable source, names that did not map, or a target that cannot be written.
    """
    conversion = converter(load_state(source))
    if report_only:
        return conversion
    if not conversion.complete:
        raise InputError(
            f"{source} does not fit the layout: {_shortfall(conversion)}; nothing was written, so choose the "
            "layout that the file has"
        )
    if source.resolve() == target.resolve():
        raise InputError(f"{target} would replace the file it is made from: choose another name")
    import torch

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as file:
            # A tensor may be a view into a larger storage, which would be written whole.
            torch.save({name: tensor.clone() for name, tensor in conversion.state.items()}, file)
    except (OSError, RuntimeError) as error:
        # On a full disk torch trips over the archive it left half-written and hides the cause behind that.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise InputError(
            f"cannot write the converted checkpoint {target}: {cause.strerror}; choose another place"
        ) from error
    return conversion


def _shortfall(conversion: Conversion) -> str:
    """What did not map, in words."""
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for names, kind in (
            (conversion.unmapped, "of its tensors are unknown"),
            (conversion.missing, "of ours are not in it"),
        )
        if names
    ]
    return " and ".join(parts)
