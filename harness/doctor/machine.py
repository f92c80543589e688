"""Checks of the machine: folders, disks, memory, limits, clock."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from filelock import FileLock

from harness.doctor.finding import Finding
from harness.weights import cache_folder

if TYPE_CHECKING:
    from docker import DockerClient

_GIB = 1 << 30
_SCARCE, _TIGHT = 5 * _GIB, 60 * _GIB  # free disk: runs fail soon; CAMs and logits of VOC do not fit
_INODES = 50_000  # a run on VOC makes a file per image and stage
_IMAGES = 20 * _GIB  # what building the images takes
_SHARED = 1 * _GIB  # of shared memory, per data loading process
_MEMORY = 8 * _GIB
_OPEN_FILES = 4096
_SKEW = 2.0  # seconds
_BUILT = 1_700_000_000.0  # November 2023: no clock that is right shows less


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_work_folder(work: Path) -> Finding:
    """Whether files can be written, renamed and locked there."""
    place = existing(work)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as folder:
            one, two = Path(folder, "one"), Path(folder, "two")
            one.write_bytes(b"1")
            two.write_bytes(b"2")
            one.replace(two)
            with FileLock(Path(folder, "lock"), timeout=5):
                kept = two.read_bytes() == b"1"
    except (OSError, NotImplementedError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Finding(
            "work folder", "problem", f"{place} cannot be worked in: {reason}", "--work-dir ANOTHER_FOLDER"
        )
    if not kept:
        return Finding("work folder", "problem", f"renaming fails in {place}", "--work-dir ANOTHER_FOLDER")
    return Finding("work folder", "ok", f"{work.absolute()} can be written, renamed in and locked")


def check_disks(work: Path, client: DockerClient | None) -> Iterator[Finding]:
    """Free space where runs, downloads and images go; folders on one disk are told once."""
    places: dict[int, tuple[Path, list[str]]] = {}
    for name, path in (("work folder", work), ("cache", cache_folder()), ("temporary", Path("/tmp"))):
        place = existing(path)
        places.setdefault(place.stat().st_dev, (place, []))[1].append(name)
    for place, names in places.values():
        yield _disk(f"disk ({', '.join(names)})", place, _TIGHT if "work folder" in names else _SCARCE)
    if client is not None:
        root = Path(str(client.info().get("DockerRootDir", "")))
        if root.is_dir():  # not there if the engine is on another machine
            yield _disk("disk (images)", root, _IMAGES, "docker system prune")


def _disk(subject: str, place: Path, tight: int, mend: str = "") -> Finding:
    free = shutil.disk_usage(place).free
    inodes = os.statvfs(place)
    found = f"{_gib(free)} free in {place}"
    if inodes.f_files and inodes.f_favail < _INODES:  # some file systems count none
        return Finding(
            subject, "problem", f"{found}, but only {inodes.f_favail} inodes", "delete small files"
        )
    if free < _SCARCE:
        return Finding(subject, "problem", found, mend or "delete old artifacts, or --work-dir ANOTHER_DISK")
    if free < tight:
        why = f"less than {_gib(tight)}, which a run on VOC or COCO may need"
        return Finding(subject, "warning", f"{found}: {why}", mend or "--work-dir ANOTHER_DISK")
    return Finding(subject, "ok", found)


def check_shared_memory(place: Path = Path("/dev/shm")) -> Finding:
    """Room for the batches that data loading processes hand over; containers get their own."""
    if not place.is_dir():
        return Finding("shared memory", "absent", f"there is no {place}")
    total, wanted = shutil.disk_usage(place).total, _SHARED * len(os.sched_getaffinity(0))
    found = f"{_gib(total)} in {place}"
    if total < min(wanted, 8 * _GIB):
        size = max(1, min(wanted, 8 * _GIB) // _GIB)
        return Finding(
            "shared memory",
            "warning",
            f"{found}: data loading of --executor local may end with a bus error",
            f"sudo mount -o remount,size={size}G {place}",
        )
    return Finding("shared memory", "ok", found)


def check_memory() -> Finding:
    """Memory that is free for stages."""
    memory = psutil.virtual_memory()
    found = f"{_gib(memory.available)} of {_gib(memory.total)} available"
    if memory.available < _MEMORY:
        return Finding(
            "memory", "warning", f"{found}: full-size networks need {_gib(_MEMORY)}", "end other programs"
        )
    return Finding("memory", "ok", found)


def check_open_files() -> Finding:
    """The limit of open files: each batch in flight takes some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        reachable = hard == resource.RLIM_INFINITY or hard >= _OPEN_FILES
        return Finding(
            "open files",
            "warning",
            f"at most {soft} per process: many data loading processes may fail",
            f"ulimit -n {_OPEN_FILES}" if reachable else "raise nofile in /etc/security/limits.conf",
        )
    return Finding("open files", "ok", f"at most {'any number' if soft == resource.RLIM_INFINITY else soft}")


def check_clock(work: Path) -> Finding:
    """Whether the clock is right as far as its date, the disk's clock and the time service tell."""
    now = time.time()
    if now < _BUILT:
        date = time.strftime("%Y-%m-%d", time.gmtime(now))
        return Finding("clock", "problem", f"it shows {date}, which is past", "sudo timedatectl set-ntp true")
    try:
        with tempfile.NamedTemporaryFile(dir=existing(work)) as file:
            skew = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError:  # the folder's own check says why
        skew = 0.0
    if abs(skew) > _SKEW:
        return Finding(
            "clock",
            "warning",
            f"the disk of the work folder is {skew:+.0f} s off: times in records will not fit those of files",
            "sudo timedatectl set-ntp true, here and on the file server",
        )
    synchronised = _time_service()
    if synchronised is False:
        return Finding("clock", "warning", "no time service sets it", "sudo timedatectl set-ntp true")
    return Finding(
        "clock", "ok", "set by a time service" if synchronised else "plausible; no time service known"
    )


def _time_service() -> bool | None:
    """Whether systemd says that the clock is synchronised; None where it does not tell."""
    if shutil.which("timedatectl") is None:
        return None
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"yes": True, "no": False}.get(done.stdout.strip()) if done.returncode == 0 else None


def _gib(size: int) -> str:
    return f"{size / _GIB:.0f} GiB" if size >= 10 * _GIB else f"{size / _GIB:.1f} GiB"
