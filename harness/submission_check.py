"""Is a package what VOC's evaluation server takes? For packages of any origin."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from harness.data.fingerprint import OnProgress
from harness.data.palette import IGNORE, voc_palette
from harness.errors import InputError
from harness.submission import CLASSES, COMPETITIONS, FOLDER, IMAGES, SPLIT, is_official

_MAX_BYTES = 8 << 20  # of one PNG; VOC's images have at most 500 x 500 pixels
_MAX_PIXELS = 1 << 24
_PNG = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3  # colour type in a PNG's header

SizeOf = Callable[[str], tuple[int, int]]


@dataclass(frozen=True)
class Problem:
    """Something that the server would refuse or count wrongly.

    Attributes:
        kind: what is wrong, the same text for the same fault.
        place: the file, or what else it is about.
    """

    kind: str
    place: str


@dataclass(frozen=True)
class _Member:
    """A file of a package; `content` None for what is no plain file or too large to be a mask."""

    name: str
    content: bytes | None


def check_package(
    package: Path, ids: Sequence[str] | None, size_of: SizeOf | None, progress: OnProgress
) -> list[Problem]:
    """Return everything that is wrong with a package; nothing for one that the server takes.

    Args:
        package: a tar archive, compressed or not, or a folder: the one that holds `results`, or one of those
            below it.
        ids: the images that it must have; None for the official ones, known by number and hash only.
        size_of: (H, W) of one of `ids`; None where the images are not there.
        progress: told (done, total) images.

    Raises:
        InputError: there is no package, or it is no archive.
    """
    problems: list[Problem] = []
    found: Counter[str] = Counter()
    competitions: set[str] = set()
    expected, wanted = IMAGES if ids is None else len(ids), frozenset(ids or ())
    for member in _members(package):
        path = PurePosixPath(member.name)
        folder = path.parent.name
        if path.parent.parent != FOLDER or folder not in COMPETITIONS or path.suffix != ".png":
            problems.append(Problem(f"is no {FOLDER}/{COMPETITIONS[-1]}/<id>.png", member.name))
            continue
        competitions.add(folder)
        found[path.stem] += 1
        size = size_of(path.stem) if size_of and path.stem in wanted else None
        problems += (Problem(kind, member.name) for kind in _mask_problems(member.content, size))
        progress(min(sum(found.values()), expected), expected)
    if len(competitions) > 1:
        problems.append(
            Problem("holds two competitions; hand in one package each", " and ".join(sorted(competitions)))
        )
    problems += (
        Problem("is there more than once", image_id) for image_id, count in found.items() if count > 1
    )
    return [*_id_problems(list(found), ids), *problems]


def _id_problems(found: Sequence[str], ids: Sequence[str] | None) -> Iterator[Problem]:
    if ids is None:
        if not is_official(found):
            yield Problem(
                f"are not VOC 2012's {IMAGES} ids of '{SPLIT}'; --data-root tells which",
                f"the {len(found)} ids",
            )
        return
    for image_id in sorted(set(ids) - set(found)):
        yield Problem("is missing", image_id)
    for image_id in sorted(set(found) - set(ids)):
        yield Problem(f"is no image of '{SPLIT}'", image_id)


def _mask_problems(content: bytes | None, size: tuple[int, int] | None) -> Iterator[str]:
    """What is wrong with one file; `size` is (H, W) of its image."""
    if content is None:
        yield f"is no plain file of at most {_MAX_BYTES >> 20} MiB"
        return
    if not content.startswith(_PNG):
        yield "is no PNG"
        return
    depth, colour = content[24:26] if len(content) > 25 else (0, 0)
    if colour != _INDEXED or depth != 8:
        yield "is no indexed PNG of 8 bits per pixel"
        return
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MAX_PIXELS:
                yield "is too large for a VOC image"
                return
            palette = image.getpalette("RGB") or []
            mask = np.array(image)
    # Pillow reports broken PNG chunks as SyntaxError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        yield "is broken"
        return
    needed = 3 * min(int(mask.max(initial=0)) + 1, CLASSES)  # unused colours may be left out
    if palette[:needed] != voc_palette().ravel().tolist()[:needed]:
        yield "has not VOC's colour map"
    if (mask == IGNORE).any():
        yield f"holds label {IGNORE} (undecided), which a prediction must not"
    if ((mask >= CLASSES) & (mask != IGNORE)).any():
        yield f"holds labels beyond {CLASSES - 1}"
    if size is not None and mask.shape != size:
        yield "has not its image's size"


def _members(package: Path) -> Iterator[_Member]:
    """All files of a package by their path in it."""
    if package.is_dir():
        prefix = _prefix(package)
        for path in sorted(path for path in package.rglob("*") if not path.is_dir()):
            plain = path.is_file() and path.stat().st_size <= _MAX_BYTES
            name = prefix / path.relative_to(package).as_posix()
            yield _Member(str(name), path.read_bytes() if plain else None)
        return
    try:
        with tarfile.open(package, "r:*") as archive:
            for entry in archive:
                if entry.isdir():
                    continue
                file = archive.extractfile(entry) if entry.isfile() and entry.size <= _MAX_BYTES else None
                yield _Member(entry.name.removeprefix("./"), file.read() if file else None)
    except FileNotFoundError:
        raise InputError(f"there is no package {package}: name a tar archive or a folder") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"{package} cannot be read as a tar archive ({error}): name a .tar, .tar.gz or a folder"
        ) from error


def _prefix(folder: Path) -> PurePosixPath:
    """The path within a package that a folder stands for: empty for the one that holds `results`."""
    for competition in COMPETITIONS:
        whole = (*FOLDER.parts, competition)
        for length in range(len(whole), 0, -1):
            if folder.resolve().parts[-length:] == whole[:length]:
                return PurePosixPath(*whole[:length])
    return PurePosixPath()
