"""What a run ran on: machine, GPUs, package versions, the project's commit."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, Field

from harness.nvml import as_text, nvml_session, visible_devices

_PROJECT = Path(__file__).resolve().parent


class Gpu(BaseModel):
    """One GPU that is visible to this process."""

    name: str
    memory_bytes: int | None = Field(description="total device memory; None where the driver does not tell")


class Hardware(BaseModel):
    """The machine, as this process sees it."""

    cpu: str = Field(description="model name")
    cores: int | None = Field(description="physical cores of the machine; None where it does not tell")
    usable_cpus: int = Field(description="logical CPUs that this process may run on")
    memory_bytes: int = Field(description="physical memory of the machine")
    gpus: list[Gpu]
    gpu_driver: str | None = Field(description="NVIDIA driver version; None without one")
    cuda: str | None = Field(description="newest CUDA version that the driver supports, such as '13.0'")
    os: str = Field(description="distribution and version")
    kernel: str
    architecture: str


class GitState(BaseModel):
    """Where the project's checkout stands."""

    commit: str = Field(description="full hash of HEAD")
    dirty: bool = Field(description="whether tracked files differ from HEAD or untracked ones lie about")


def describe(nvml: Any = None) -> Hardware:
    """Describe this machine.

    Args:
        nvml: an initialised NVML module to use instead of the system's, for tests.
    """
    if nvml is not None:
        gpus, driver, cuda = _gpus(nvml)
    else:
        with nvml_session() as session:
            gpus, driver, cuda = _gpus(session) if session is not None else ([], None, None)
    return Hardware(
        cpu=_cpu_model(),
        cores=psutil.cpu_count(logical=False),
        usable_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpus,
        gpu_driver=driver,
        cuda=cuda,
        os=_operating_system(),
        kernel=platform.release(),
        architecture=platform.machine(),
    )


def git_state(file: Path = _PROJECT / "__init__.py") -> GitState | None:
    """Commit and dirty flag of the checkout that `file` belongs to.

    None without git, outside a checkout, and for a file that merely lies inside some checkout without being
    tracked there: an installed copy in a virtual environment says nothing about the repository around it.
    """
    if shutil.which("git") is None:
        return None
    if _git(file.parent, "ls-files", "--error-unmatch", "--", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "HEAD")
    status = _git(file.parent, "status", "--porcelain")
    return None if commit is None or status is None else GitState(commit=commit, dirty=bool(status))


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None if git refuses (no checkout, no commit yet, foreign owner)."""
    # Optional locks would make this read-only look disturb a commit that runs at the same time.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _gpus(nvml: Any) -> tuple[list[Gpu], str | None, str | None]:
    gpus = []
    for handle in visible_devices(nvml, os.environ):
        try:
            memory: int | None = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        except nvml.NVMLError:  # unified memory has no size of its own
            memory = None
        gpus.append(Gpu(name=as_text(nvml.nvmlDeviceGetName(handle)), memory_bytes=memory))
    version = nvml.nvmlSystemGetCudaDriverVersion()  # 13010 means 13.1
    return gpus, as_text(nvml.nvmlSystemGetDriverVersion()), f"{version // 1000}.{version % 1000 // 10}"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):  # not Linux, or a bare container
        return platform.platform(terse=True)
