"""One sentence for every way in which a file of a dataset is absent or unreadable."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from harness.errors import InputError

# Pillow reports broken chunks as SyntaxError, and broken headers also as ValueError or struct.error.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@contextlib.contextmanager
def reading(what: str, path: Path, remedy: str = "complete the dataset") -> Iterator[None]:
    """Turn what is raised for a bad file into one sentence about it.

    Args:
        what: `image`, `mask`, `annotation`.
        path: the file that the block reads.
        remedy: what to do where it is absent.

    Raises:
        InputError: it is absent, a folder, empty, forbidden or broken.
    """
    try:
        yield
    except FileNotFoundError:
        raise absent(what, path, remedy) from None
    except _UNREADABLE as error:
        raise _unreadable(what, path, error) from error


def absent(what: str, path: Path, remedy: str = "complete the dataset") -> InputError:
    """Return the error for a file that is not there, with what may be meant by it; arguments of `reading`."""
    if not path.parent.is_dir():
        return InputError(f"there is no folder {path.parent}, where the {what}s should be: {remedy}")
    if path.is_symlink():
        return InputError(f"the {what} {path} is a link to a file that is not there: {remedy}")
    endings = [path.suffix.upper(), *([".jpeg", ".JPEG"] if path.suffix == ".jpg" else [])]
    for other in map(path.with_suffix, endings):
        if other.is_file():
            return InputError(f"there is no {what} {path} but a {other.name}: rename it to {path.name}")
    return InputError(f"there is no {what} {path}: {remedy}")


def _unreadable(what: str, path: Path, error: BaseException) -> InputError:
    if isinstance(error, PermissionError):
        return InputError(f"the {what} {path} may not be read: change its permissions")
    if path.is_dir():
        return InputError(f"the {what} {path} is a folder: replace it by the file")
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            return InputError(f"the {what} {path} is empty: replace the file")
    reason = "no image format" if isinstance(error, UnidentifiedImageError) else error
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    return InputError(f"the {what} {path} cannot be read ({reason}): replace the file")
