"""Notices when a reader runs something or leaves its folder: a hook that Python tells before it acts."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_RUNNING = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.bind",
    "ctypes.dlopen",
    "pickle.find_class",
}
_CHANGING = {
    "os.chmod": (0,),
    "os.link": (0, 1),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
}


class Guard:
    """Collects what readers should not do. A hook cannot be taken away, so a process has one guard.

    Args:
        scratch: the folder that readers may write to.
        secret: a folder that they may not even read.
    """

    def __init__(self, scratch: Path, secret: Path) -> None:
        self._scratch, self._secret = os.fspath(scratch.resolve()), os.fspath(secret.resolve())
        self._armed = False
        self.violations: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Watch during the block."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event in _RUNNING:
            self._violated(f"{event} {arguments[:2]!r}")
        elif event == "exec" and getattr(arguments[0], "co_filename", "") == "<string>":
            if not _importing():  # modules that are imported late make named tuples so
                self._violated(f"exec {arguments[0]!r}")
        elif event == "open":
            self._opened(arguments)
        elif event in _CHANGING:
            for place in _CHANGING[event]:
                self._touched(event, arguments[place])

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path, mode, flags = arguments
        writing = any(letter in (mode or "") for letter in "wax+") if mode else bool((flags or 0) & 3)
        if writing:
            self._touched("open for writing", path)
        elif isinstance(path, str | bytes | os.PathLike) and self._real(path).startswith(self._secret):
            self._violated(f"read {path!r}")

    def _touched(self, event: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike) and not self._real(path).startswith(self._scratch):
            self._violated(f"{event} {path!r}")

    @staticmethod
    def _real(path: Any) -> str:
        return os.path.realpath(os.fsdecode(path))

    def _violated(self, what: str) -> None:
        self.violations.append(what)
        raise PermissionError(f"refused by the guard: {what}")


def _importing() -> bool:
    """Whether a module is being imported."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
