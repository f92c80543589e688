"""Checks of NVIDIA GPUs: driver, devices, and their way into containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.doctor.finding import Finding
from harness.nvml import as_text, nvml_session, visible_devices

if TYPE_CHECKING:
    from docker import DockerClient

_NVIDIA = "0x10de"  # PCI vendor
_DISPLAY = "0x03"  # PCI class
_BUSY = 0.1  # of a GPU's memory
_PCI = Path("/sys/bus/pci/devices")


def check_gpus(nvml: Any = None, pci: Path = _PCI) -> Iterator[Finding]:
    """The driver, and every GPU that this process may use.

    Args:
        nvml: an initialised NVML module to use instead of the system's, for tests.
        pci: where the kernel lists the devices of the machine.
    """
    if nvml is not None:
        yield from _with_driver(nvml)
        return
    with nvml_session() as session:
        if session is not None:
            yield from _with_driver(session)
        elif built_in := _devices(pci):
            yield Finding(
                "GPU driver",
                "problem",
                f"{built_in} NVIDIA GPUs are built in, but no driver answers",
                "sudo apt-get install nvidia-driver, then restart (`nvidia-smi` must show them)",
            )
        else:
            yield Finding("GPU driver", "absent", "no NVIDIA GPU: everything runs on processors, slowly")


def _devices(pci: Path) -> int:
    """Number of NVIDIA's display controllers in the machine."""
    found = 0
    for device in pci.iterdir() if pci.is_dir() else ():
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:  # a device that went away meanwhile
            continue
        found += vendor.strip() == _NVIDIA and kind.startswith(_DISPLAY)
    return found


def _with_driver(nvml: Any) -> Iterator[Finding]:
    version = nvml.nvmlSystemGetCudaDriverVersion()  # 13010 means 13.1
    driver, cuda = as_text(nvml.nvmlSystemGetDriverVersion()), (version // 1000, version % 1000 // 10)
    found, wanted = f"{driver}, up to CUDA {cuda[0]}.{cuda[1]}", _cuda_of_torch()
    if wanted is not None and wanted[0] > cuda[0]:  # minor versions are compatible
        yield Finding(
            "GPU driver",
            "problem",
            f"{found}, but torch is built for CUDA {wanted[0]}.{wanted[1]}",
            f"install a driver for CUDA {wanted[0]} or newer, then restart",
        )
    else:
        yield Finding("GPU driver", "ok", found)
    devices = visible_devices(nvml, os.environ)
    if not devices:
        hidden = f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}"
        yield Finding("GPU", "warning", f"none is visible: {hidden}", "unset CUDA_VISIBLE_DEVICES")
    for index, handle in enumerate(devices):
        yield _device(nvml, index, handle)


def _device(nvml: Any, index: int, handle: Any) -> Finding:
    subject, name = f"GPU {index}", as_text(nvml.nvmlDeviceGetName(handle))
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:  # unified memory has no size of its own
        return Finding(subject, "ok", name)
    free = memory.total - memory.used
    found = f"{name}, {free / (1 << 30):.0f} of {memory.total / (1 << 30):.0f} GiB free"
    if memory.used > _BUSY * memory.total:
        return Finding(subject, "warning", f"{found}: other programs use it", "nvidia-smi, and end them")
    return Finding(subject, "ok", found)


def _cuda_of_torch() -> tuple[int, int] | None:
    """CUDA version that the installed torch is built for, without loading it; None for a CPU build."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    names: dict[str, Any] = {}
    for line in Path(spec.origin).with_name("version.py").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        names[name.partition(":")[0].strip()] = value.strip().strip("'\"")
    major, _, minor = str(names.get("cuda", "None")).partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def check_toolkit(client: DockerClient | None, *, gpus: int | None = None) -> Finding:
    """Whether containers can get GPUs.

    Args:
        client: Docker's engine, if one answers.
        gpus: number of GPUs; None to count them.
    """
    if gpus is None:
        with nvml_session() as session:
            gpus = session.nvmlDeviceGetCount() if session is not None else 0
    if client is None or not gpus:
        return Finding(
            "container toolkit", "absent", "not needed: no GPU" if not gpus else "not needed: no Docker"
        )
    info = client.info()
    cdi = [device for device in info.get("DiscoveredDevices") or [] if "nvidia" in str(device.get("ID"))]
    if "nvidia" in (info.get("Runtimes") or {}) or cdi:
        return Finding("container toolkit", "ok", "the engine can hand over GPUs")
    return Finding(
        "container toolkit",
        "problem",
        "the engine cannot hand over GPUs",
        "install nvidia-container-toolkit, then sudo nvidia-ctk runtime configure --runtime=docker "
        "&& sudo systemctl restart docker",
    )
