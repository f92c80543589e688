"""Container images of the methods: which the engine has, and builds; see `harness.image_recipes`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness.engine import connect
from harness.errors import InputError
from harness.image_recipes import REPOSITORY, Recipe, image_names, recipes

if TYPE_CHECKING:
    from docker.models.images import Image

    from docker import DockerClient

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


def method_tag(method: str, base_image: str | None = None) -> str:
    """The tag that a method's image has when it is current.

    Raises:
        InputError: there is no Dockerfile for it.
    """
    return recipes(method, base_image)[-1].tag


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
    wanted = {recipes(name, base_image)[-1].tag for name in image_names()}
    found = {tag: image for image in client.images.list() for tag in image.tags}
    return [
        _info(image, tag, ImageState.CURRENT if tag in wanted else ImageState.STALE)
        for tag, image in sorted(found.items())
        if tag.startswith(f"{REPOSITORY}/")
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
    chain = recipes(method, base_image)  # read once: sources may change while the base image is built
    wanted = list(takewhile(lambda recipe: _state(client, recipe) is not ImageState.CURRENT, reversed(chain)))
    for recipe in reversed(wanted):
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
            fileobj=recipe.context(bundle.read_bytes() if bundle and recipe.name == "base" else None),
            custom_context=True,
            dockerfile="Dockerfile",
            tag=recipe.tag,
            buildargs={**proxies, **_snapshots(), "BASE_IMAGE": recipe.parent},
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


def _snapshots() -> dict[str, str]:
    """The address of a company's own snapshots of Debian, if it has them."""
    given = os.environ.get("HARNESS_DEBIAN_SNAPSHOTS")
    return {"DEBIAN_SNAPSHOTS": given} if given else {}


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


def _state(client: DockerClient, recipe: Recipe) -> ImageState:
    tags = {tag for image in client.images.list(name=f"{REPOSITORY}/{recipe.name}") for tag in image.tags}
    if recipe.tag in tags:
        return ImageState.CURRENT
    return ImageState.STALE if tags else ImageState.MISSING


def _info(image: Image, tag: str, state: ImageState) -> ImageInfo:
    digests = image.attrs.get("RepoDigests") or []
    return ImageInfo(
        name=tag.removeprefix(f"{REPOSITORY}/").partition(":")[0],
        tag=tag,
        state=state,
        id=str(image.id),
        digest=digests[0].partition("@")[2] if digests else None,
        size_bytes=int(image.attrs["Size"]),
        created=str(image.attrs["Created"]),
    )


def _log_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / REPOSITORY / "builds"
