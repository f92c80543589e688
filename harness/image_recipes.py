"""What container images are made of, and the tags that say so.

Images stand on one another: base (Python and locked packages) ← harness (sources) ← one per method. A tag is
`wsss-harness/<name>:<hash>`, and the hash covers the bytes of the Dockerfile and of every file that the build
is handed, and the tag that the image stands on. So an image that has the tag that is wanted holds what is
wanted, and any other one is stale.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError, nearest
from harness.source import source_files

ROOT = Path(__file__).parents[1]
REPOSITORY = "wsss-harness"
DEBIAN = "debian:bookworm-slim"


@dataclass(frozen=True)
class Recipe:
    """What an image is built from, as it was when the recipe was read.

    Attributes:
        name: `base`, `harness` or a method.
        parent: tag that it stands on; its Dockerfile gets it as build argument BASE_IMAGE.
        files: `Dockerfile` and every file that it may copy, name below the root → content.
    """

    name: str
    parent: str
    files: Mapping[str, bytes]

    @property
    def tag(self) -> str:
        """`wsss-harness/<name>:<hash of what goes in>`."""
        contents = [f"{name} {_digest(content)}" for name, content in sorted(self.files.items())]
        return f"{REPOSITORY}/{self.name}:{_digest_lines(self.parent, *contents)}"

    def context(self, ca_bundle: bytes | None) -> io.BytesIO:
        """The archive that a build is handed: the files that the tag covers, and certificates.

        Owner, mode and time are fixed, so that the engine's layer cache depends on content only.
        """
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in sorted(self.files.items()):
                _add(tar, name, content)
            if ca_bundle is not None:
                _add(tar, "ca-bundle.crt", ca_bundle)
        archive.seek(0)
        return archive


def image_names(root: Path = ROOT) -> list[str]:
    """`base`, `harness` and every method that has a Dockerfile."""
    dockerfiles = (root / "docker").glob("*.Dockerfile")
    return sorted(["harness", *(path.name.removesuffix(".Dockerfile") for path in dockerfiles)])


def recipes(name: str, base_image: str | None = None, root: Path = ROOT) -> list[Recipe]:
    """The recipes of an image and of those that it stands on, lowest first.

    A method without a Dockerfile of its own is executed in the harness image.

    Args:
        name: `base`, `harness` or a method.
        base_image: Debian image below all; None for environment variable HARNESS_BASE_IMAGE or bookworm-slim.
        root: the checkout.

    Raises:
        InputError: there is no such method.
    """
    own = name in image_names(root)
    if not own and not (root / "methods" / name).is_dir():
        raise InputError(
            f"no image for '{name}'{nearest(name, image_names(root))}: there is no method of that name"
        )
    docker, locks = root / "docker", root / "requirements"
    debian = base_image or os.environ.get("HARNESS_BASE_IMAGE") or DEBIAN
    debian_packages = [docker / "debian-snapshot.sh", docker / "debian.snapshot"]
    files = _read(
        root, docker / "base.Dockerfile", [locks / "build.lock", locks / "runtime.lock", *debian_packages]
    )
    chain = [Recipe("base", debian, files)]
    if name != "base":
        files = _read(root, root / "Dockerfile", [root / "harness", root / "methods", root / "leaderboard"])
        chain.append(Recipe("harness", chain[-1].tag, files))
    if own and name not in ("base", "harness"):
        files = _read(root, docker / f"{name}.Dockerfile", [root / "methods" / name])
        chain.append(Recipe(name, chain[-1].tag, files))
    return chain


def environment_hash(method: str, base_image: str | None = None, root: Path = ROOT) -> str:
    """Hash of what stages of a method are executed with, except the project's own source.

    Stage keys count the source that stages run by itself; through the image's tag, an edit of the command
    line would make every artifact unusable.

    Returns:
        16 hexadecimal digits.
    """
    base, *above = recipes(method, base_image, root)
    return _digest_lines(base.tag, *(_digest(recipe.files["Dockerfile"]) for recipe in above))


def _read(root: Path, dockerfile: Path, sources: Iterable[Path]) -> dict[str, bytes]:
    files = {
        file.relative_to(root).as_posix(): file.read_bytes()
        for source in sources
        for file in source_files(source)
    }
    return {**files, "Dockerfile": dockerfile.read_bytes()}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _digest_lines(*lines: str) -> str:
    return _digest("\n".join(lines).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
