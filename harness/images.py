"""Container images of the methods: recipes, tags that say what went in, builds.

Images stand on one another: base (Python and locked packages) ← harness (sources) ← one per method. A tag is
`wsss-harness/<name>:<hash>`, and the hash covers the image's Dockerfile, every file that its build is handed
and the tag that it stands on. So an image that has the tag that is wanted holds what is wanted, and any other
one is stale.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness.engine import connect
from harness.errors import InputError, nearest
from harness.source import source_files, source_hash

if TYPE_CHECKING:
    from docker.models.images import Image

    from docker import DockerClient

ROOT = Path(__file__).parents[1]
DEBIAN = "debian:bookworm-slim"
_REPOSITORY = "wsss-harness"
_DURATIONS = {"base": " (once; five to ten minutes)"}
_WIDTH = 100  # characters of a build step that are shown
_INTERMEDIATE = "wsss-harness.intermediate"  # label of build stages that no image stands on
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


class ImageState(StrEnum):
    """Whether the engine has the image that the present sources and locks would give."""

    CURRENT = "current"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True)
class ImageInfo:
    """An image that the engine has; `size_bytes` counts the layers that it shares with others."""

    name: str
    tag: str
    state: ImageState
    id: str
    digest: str | None
    size_bytes: int
    created: str


@dataclass(frozen=True)
class Recipe:
    """What an image is built from.

    Attributes:
        name: `base`, `harness` or a method.
        dockerfile: its Dockerfile.
        sources: files and folders, below the root, that its Dockerfile may copy.
        parent: tag that it stands on; its Dockerfile gets it as build argument BASE_IMAGE.
    """

    name: str
    dockerfile: Path
    sources: tuple[Path, ...]
    parent: str

    @property
    def tag(self) -> str:
        """`wsss-harness/<name>:<hash of what goes in>`."""
        content = source_hash([self.dockerfile, *self.sources])
        return f"{_REPOSITORY}/{self.name}:{_digest(self.parent, content)}"


def recipes(name: str, base_image: str | None = None, root: Path = ROOT) -> list[Recipe]:
    """The recipes of an image and of those that it stands on, lowest first.

    Args:
        name: `base`, `harness` or a method.
        base_image: Debian image below all; None for environment variable HARNESS_BASE_IMAGE or bookworm-slim.
        root: the checkout.

    Raises:
        InputError: there is no Dockerfile for it.
    """
    files = {path.name.removesuffix(".Dockerfile"): path for path in (root / "docker").glob("*.Dockerfile")}
    if name not in files and name != "harness":
        raise InputError(
            f"no image for '{name}'{nearest(name, [*files, 'harness'])}: {root / 'docker'} has "
            f"no {name}.Dockerfile; write one, or take --executor local"
        )
    locks = (root / "requirements" / "build.lock", root / "requirements" / "runtime.lock")
    debian = base_image or os.environ.get("HARNESS_BASE_IMAGE") or DEBIAN
    base = Recipe("base", files["base"], locks, debian)
    if name == "base":
        return [base]
    trees = (root / "harness", root / "methods", root / "leaderboard")
    harness = Recipe("harness", root / "Dockerfile", trees, base.tag)
    if name == "harness":
        return [base, harness]
    return [base, harness, Recipe(name, files[name], (root / "methods" / name,), harness.tag)]


def method_tag(method: str, base_image: str | None = None) -> str:
    """The tag that a method's image has when it is current.

    Raises:
        InputError: there is no Dockerfile for it.
    """
    return recipes(method, base_image)[-1].tag


def environment_hash(method: str, base_image: str | None = None) -> str:
    """Hash of what stages of a method are executed with, except the project's own source.

    Stage keys count the source that stages run by itself; through the image's tag, an edit of the command
    line would make every artifact unusable.

    Returns:
        16 hexadecimal digits.
    """
    chain = recipes(method, base_image)
    return _digest(chain[0].tag, *(source_hash([recipe.dockerfile]) for recipe in chain[1:]))


def verify(method: str, *, base_image: str | None = None, client: DockerClient | None = None) -> ImageState:
    """Whether the engine has the image of the present sources and locks.

    Raises:
        InputError: no engine answers, or there is no Dockerfile for the method.
    """
    return _state(client or connect(), recipes(method, base_image)[-1])


def list_images(*, base_image: str | None = None, client: DockerClient | None = None) -> list[ImageInfo]:
    """Every image of this project that the engine has, current or stale, by tag.

    Raises:
        InputError: no engine answers.
    """
    client = client or connect()
    names = [path.name.removesuffix(".Dockerfile") for path in (ROOT / "docker").glob("*.Dockerfile")]
    wanted = {recipe.tag for name in names for recipe in recipes(name, base_image)}
    found = {tag: image for image in client.images.list() for tag in image.tags}
    return [
        _info(image, tag, ImageState.CURRENT if tag in wanted else ImageState.STALE)
        for tag, image in sorted(found.items())
        if tag.startswith(f"{_REPOSITORY}/")
    ]


def build(
    method: str,
    *,
    base_image: str | None = None,
    ca_bundle: Path | None = None,
    progress: Callable[[str], None] | None = None,
    log_folder: Path | None = None,
    client: DockerClient | None = None,
) -> ImageInfo:
    """Make a method's image current: build it and those that it stands on where they are not.

    Args:
        method: `base`, `harness` or a method.
        base_image: see `recipes`.
        ca_bundle: PEM file with further certificates that the build's network needs; None for the file that
            environment variable HARNESS_CA_BUNDLE names, if any. It is not in the image. Proxies are taken
            from the usual environment variables and are not in the image either.
        progress: receives a line per step of a build.
        log_folder: where the builds' output goes; None for a folder in the user's cache.
        client: the engine; None for the default one.

    Returns:
        The method's image.

    Raises:
        InputError: no engine answers, there is no Dockerfile, the certificates are not there, a build fails.
    """
    client = client or connect()
    bundle = ca_bundle or (Path(named) if (named := os.environ.get("HARNESS_CA_BUNDLE")) else None)
    if bundle is not None and not bundle.is_file():
        raise InputError(
            f"no CA bundle at {bundle}: give a PEM file by --ca-bundle or HARNESS_CA_BUNDLE, or none"
        )
    say = progress or (lambda line: None)
    logs = log_folder or _log_folder()
    chain = recipes(method, base_image)
    for recipe in chain:
        if _state(client, recipe) is ImageState.CURRENT:
            continue
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{recipe.tag.replace('/', '-').replace(':', '-')}.log"
        with FileLock(logs / "build.lock"):
            if _state(client, recipe) is ImageState.CURRENT:
                continue  # another process has built it meanwhile
            say(f"building {recipe.tag}{_DURATIONS.get(recipe.name, '')}, log in {log}")
            _build(client, recipe, bundle, say, log)
    tag = chain[-1].tag
    return _info(client.images.get(tag), tag, ImageState.CURRENT)


def _build(
    client: DockerClient, recipe: Recipe, bundle: Path | None, say: Callable[[str], None], log: Path
) -> None:
    """Build one image; its output goes to `log`, its steps to `say`."""
    from docker.errors import APIError

    proxies = {
        name: value
        for lower in _PROXIES
        for name in (lower, lower.upper())
        if (value := os.environ.get(name))
    }
    try:
        chunks = client.api.build(
            fileobj=build_context(recipe, bundle if recipe.name == "base" else None),
            custom_context=True,
            dockerfile="Dockerfile",
            tag=recipe.tag,
            buildargs={**proxies, "BASE_IMAGE": recipe.parent},
            network_mode="host",  # the network that works for the user: proxies on localhost, VPN routes, DNS
            rm=True,
            forcerm=True,
            decode=True,
        )
        with log.open("w", encoding="utf-8") as file:
            problem = _follow(chunks, file.write, say)
    except APIError as error:
        problem = str(error.explanation or error)
    client.images.prune(filters={"dangling": True, "label": _INTERMEDIATE})
    if problem is not None:
        raise InputError(
            f"image {recipe.tag} could not be built ({problem.strip()}): see {log}, then try again"
        )


def _follow(
    chunks: Iterator[dict[str, Any]], write: Callable[[str], object], say: Callable[[str], None]
) -> str | None:
    """Copy a build's output; returns the engine's error message, or None."""
    for chunk in chunks:
        text = chunk.get("stream") or chunk.get("error") or ""
        write(text)
        if "error" in chunk:
            return str(chunk["error"])
        if text.startswith("Step "):
            say(text.strip()[:_WIDTH])
    return None


def build_context(recipe: Recipe, ca_bundle: Path | None, root: Path = ROOT) -> io.BytesIO:
    """The archive that a build is handed: the hashed files and nothing else, but for the certificates.

    Owner, mode and time are fixed, so that the engine's layer cache depends on content only.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        _add(tar, "Dockerfile", recipe.dockerfile.read_bytes())
        for source in recipe.sources:
            for file in source_files(source):
                _add(tar, file.relative_to(root).as_posix(), file.read_bytes())
        if ca_bundle is not None:
            _add(tar, "ca-bundle.crt", ca_bundle.read_bytes())
    archive.seek(0)
    return archive


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _state(client: DockerClient, recipe: Recipe) -> ImageState:
    tags = {tag for image in client.images.list(name=f"{_REPOSITORY}/{recipe.name}") for tag in image.tags}
    if recipe.tag in tags:
        return ImageState.CURRENT
    return ImageState.STALE if tags else ImageState.MISSING


def _info(image: Image, tag: str, state: ImageState) -> ImageInfo:
    digests = image.attrs.get("RepoDigests") or []
    return ImageInfo(
        name=tag.removeprefix(f"{_REPOSITORY}/").partition(":")[0],
        tag=tag,
        state=state,
        id=str(image.id),
        digest=digests[0].partition("@")[2] if digests else None,
        size_bytes=int(image.attrs["Size"]),
        created=str(image.attrs["Created"]),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _log_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / _REPOSITORY / "builds"
