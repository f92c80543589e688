"""What images hold: their packages against docker/images.lock, and the size of their layers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import InputError
from harness.files import atomic_file
from harness.image_recipes import ROOT

if TYPE_CHECKING:
    from docker import DockerClient

LOCK = ROOT / "docker" / "images.lock"
_HEAD = (
    "# What the images hold: `harness image lock` writes this, `harness image verify` compares with it.\n"
    "# manager name version; images of methods have what base has, and what is listed for them.\n"
)
_ASK = """
import importlib.metadata, json, pathlib, subprocess
ask = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n"]
debian = subprocess.run(ask, capture_output=True, text=True)
print(json.dumps({
    "debian": dict(line.split(" ") for line in debian.stdout.splitlines()),
    "python": {d.name.lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()},
    "snapshot": pathlib.Path("/etc/wsss-harness-debian").read_text().strip(),
}))
"""
_MEMORY = 1 << 30

Manager = Literal["debian", "python"]
Packages = dict[tuple[Manager, str], str]  # (manager, name) → version


@dataclass(frozen=True)
class Contents:
    """The packages of an image, and the day that those of Debian are of (`unpinned`: of its build)."""

    packages: Packages
    snapshot: str


def read_contents(client: DockerClient, tag: str) -> Contents:
    """Ask the package managers in an image.

    Raises:
        InputError: it does not run, or is none of this project's.
    """
    from docker.errors import DockerException

    from harness.executors.docker import sandbox

    try:
        output = client.containers.run(
            tag, ["-c", _ASK], entrypoint=["python"], remove=True, **sandbox(_MEMORY)
        )
    except DockerException as error:
        raise InputError(f"image {tag} cannot be looked into ({error}): build it again") from error
    answer = json.loads(output)
    packages: Packages = {
        (manager, name): version
        for manager in ("debian", "python")
        for name, version in answer[manager].items()
    }
    return Contents(packages, answer["snapshot"])


def write_lock(contents: Mapping[str, Contents], path: Path = LOCK) -> None:
    """Write what images hold.

    Args:
        contents: by the image's name; `base` must be among them.
    """
    with atomic_file(path, "w") as file:
        file.write(_HEAD)
        base = contents["base"].packages
        for name in ("base", *sorted(set(contents) - {"base"})):
            own = contents[name].packages if name == "base" else _added(base, contents[name].packages)
            if own:
                file.write(f"\n[{name}]\n")
                file.writelines(f"{kind} {package} {own[kind, package]}\n" for kind, package in sorted(own))


def read_lock(image: str, path: Path = LOCK) -> Packages:
    """The packages that an image should hold.

    Raises:
        InputError: there is no lock, or it is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): write it with `harness image lock`"
        ) from error
    packages: Packages = {}
    section = ""
    for number, line in enumerate(lines, start=1):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            manager, name, version = (*line.split(" "), "", "")[:3]
            if manager not in ("debian", "python") or not version:
                raise InputError(
                    f"{path}:{number} is not `manager name version`: write it with `harness image lock`"
                )
            if section in ("base", image):
                packages["debian" if manager == "debian" else "python", name] = version
    return packages


def differences(wanted: Packages, found: Packages) -> list[str]:
    """What an image holds otherwise than its lock says, a few words each."""
    words = []
    for manager, name in sorted(wanted.keys() | found.keys()):
        before, now = wanted.get((manager, name)), found.get((manager, name))
        if before != now:
            words.append(f"{manager} {name} is {now or 'missing'}, locked: {before or 'not at all'}")
    return words


def _added(base: Packages, packages: Packages) -> Packages:
    return {key: version for key, version in packages.items() if base.get(key) != version}


@dataclass(frozen=True)
class Layer:
    """One layer of an image: its size in bytes, and the instruction that made it."""

    size: int
    made_by: str


def layers(client: DockerClient, tag: str) -> list[Layer]:
    """The layers that take room, lowest first.

    Raises:
        InputError: there is no such image.
    """
    from docker.errors import ImageNotFound

    try:
        history: Iterable[Mapping[str, object]] = client.images.get(tag).history()
    except ImageNotFound as error:
        raise InputError(f"there is no image {tag}: `harness image build` makes it") from error
    found = [Layer(int(str(step["Size"])), _instruction(str(step["CreatedBy"]))) for step in history]
    return [layer for layer in reversed(found) if layer.size]


def _instruction(made_by: str) -> str:
    """`RUN apt-get …` from the shell command that the engine notes."""
    text = " ".join(made_by.split())
    for prefix, word in (("/bin/sh -c #(nop) ", ""), ("/bin/sh -c ", "RUN ")):
        if text.startswith(prefix):
            return word + text.removeprefix(prefix).strip()
        if f" {prefix}" in text and text.startswith("|"):  # with build arguments before it
            return word + text.partition(f" {prefix}")[2]
    return text or "imported"
