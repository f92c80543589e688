"""Checks of the software: locked packages, Docker's engine, images."""

from __future__ import annotations

import os
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.markers import Marker

from harness.doctor.finding import Finding, State
from harness.errors import InputError
from harness.image_recipes import ROOT

if TYPE_CHECKING:
    from docker import DockerClient

LOCK = ROOT / "requirements" / "runtime.lock"
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)\s*(?:;\s*(.+?))?\s*\\?$", re.MULTILINE)


def locked_packages(lock: Path) -> dict[str, str]:
    """Name → version of what a lock file wants on this machine."""
    found = {}
    for name, version, marker in _PIN.findall(lock.read_text(encoding="utf-8")):
        if not marker or Marker(marker.removesuffix("\\").strip()).evaluate():
            found[name] = version
    return found


def check_packages(lock: Path = LOCK) -> Finding:
    """Whether the interpreter has the locked versions."""
    if not lock.is_file():  # installed without its checkout
        return Finding("packages", "absent", "no lock file to compare with")
    wanted, wrong = locked_packages(lock), []
    for name, version in wanted.items():
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            there = "missing"
        if there.partition("+")[0] != version.partition("+")[0]:
            wrong.append(f"{name} is {there}, not {version}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Finding("packages", "problem", "; ".join(wrong[:3]) + more, "make setup")
    return Finding("packages", "ok", f"{len(wanted)} as locked")


def check_engine() -> tuple[Finding, DockerClient | None]:
    """Whether Docker's engine answers; the client if it does."""
    from harness.engine import connect

    try:
        client = connect()
    except InputError as error:
        reason = str(error).partition(":")[0].removeprefix("no Docker engine answers").strip(" ()")
        state, mend = _without_engine(reason)
        return Finding("Docker", state, f"no engine answers ({reason}): --executor local works", mend), None
    version = client.version()
    return Finding(
        "Docker", "ok", f"engine {version.get('Version')}, API {version.get('ApiVersion')}"
    ), client


def _without_engine(reason: str) -> tuple[State, str]:
    if shutil.which("docker") is None and shutil.which("dockerd") is None:
        return "absent", "install Docker (Debian and Ubuntu: sudo apt-get install docker.io)"
    if "ermission" in reason:
        return "warning", f"sudo usermod -aG docker {os.environ.get('USER', '$USER')}, then log in again"
    return "warning", "sudo systemctl start docker"


def check_images(client: DockerClient) -> Finding:
    """Which images are there as the present sources and locks would give them."""
    from harness import images

    found = images.list_images(client=client)
    current = [info.name for info in found if info.state is images.ImageState.CURRENT]
    stale = len(found) - len(current)
    old = f", {stale} stale" if stale else ""
    mend = "docker image prune --all" if stale else ""
    if not current:
        return Finding(
            "images",
            "absent",
            f"none is current{old}: the first run builds them",
            "harness image build METHOD",
        )
    return Finding("images", "ok", f"{', '.join(current)} current{old}", mend)
