"""The doctor: each fault of a machine is found, named, and answered with what mends it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.doctor import gpu, machine, material, software
from harness.doctor.finding import Finding
from harness.errors import InputError
from tests.command import Command
from tests.unit.fake_nvml import FakeGpu, FakeNvml

GIB = 1 << 30


def test_a_lock_that_is_not_what_is_installed_names_the_packages(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.lock"
    lock.write_text(
        "numpy==0.0.1 \\\n    --hash=sha256:00\n"
        "no-such-package==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n"
        "elsewhere==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    assert software.locked_packages(lock) == {"numpy": "0.0.1", "no-such-package": "1.0"}
    finding = software.check_packages(lock)
    assert (finding.state, finding.mend) == ("problem", "make setup")
    assert "not 0.0.1; no-such-package is missing, not 1.0" in finding.found


def test_the_project_s_own_environment_is_as_locked() -> None:
    finding = software.check_packages()
    assert finding.state == "ok", finding.found
    assert int(finding.found.split()[0]) > 50


@pytest.mark.parametrize(
    ("cause", "installed", "state", "mend"),
    [
        ("[Errno 13] Permission denied", True, "warning", "sudo usermod -aG docker"),
        ("[Errno 2] No such file or directory", True, "warning", "sudo systemctl start docker"),
        ("[Errno 2] No such file or directory", False, "absent", "install Docker"),
    ],
)
def test_a_silent_engine_is_no_problem_since_local_works(
    monkeypatch: pytest.MonkeyPatch, cause: str, installed: bool, state: str, mend: str
) -> None:
    def connect() -> None:
        raise InputError(f"no Docker engine answers ({cause}): start it")

    monkeypatch.setattr("harness.engine.connect", connect)
    monkeypatch.setattr(software.shutil, "which", lambda name: "/usr/bin/docker" if installed else None)
    finding, client = software.check_engine()
    assert client is None
    assert (finding.state, cause in finding.found) == (state, True)
    assert finding.mend.startswith(mend)


def test_gpus_are_told_with_their_free_memory() -> None:
    nvml = FakeNvml(FakeGpu(memory=1 * GIB), FakeGpu(uuid="GPU-1", memory=12 * GIB), FakeGpu(memory=None))
    driver, idle, busy, unified = gpu.check_gpus(nvml)
    assert (driver.state, driver.found) == ("ok", "580.65, up to CUDA 13.1")
    assert (idle.state, idle.found) == ("ok", "Fake GPU, 15 of 16 GiB free")
    assert (busy.state, busy.mend) == ("warning", "nvidia-smi, and end them")
    assert (unified.state, unified.found) == ("ok", "Fake GPU")


def test_a_driver_that_is_too_old_for_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(FakeGpu())
    monkeypatch.setattr(nvml, "nvmlSystemGetCudaDriverVersion", lambda: 11080)
    monkeypatch.setattr(gpu, "_cuda_of_torch", lambda: (13, 0))
    finding = next(iter(gpu.check_gpus(nvml)))
    assert finding.state == "problem"
    assert finding.found == "580.65, up to CUDA 11.8, but torch is built for CUDA 13.0"


def test_gpus_that_are_hidden_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    _, hidden = gpu.check_gpus(FakeNvml(FakeGpu()))
    assert (hidden.state, hidden.mend) == ("warning", "unset CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("vendor", "state"), [("0x10de", "problem"), ("0x8086", "absent")])
def test_a_gpu_without_a_driver_is_found_on_the_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, state: str
) -> None:
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text("0x030000\n")
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)  # as if there was no driver
    (finding,) = gpu.check_gpus(pci=tmp_path)
    assert finding.state == state


@pytest.mark.parametrize(
    ("info", "gpus", "state"),
    [
        ({"Runtimes": {"runc": {}}}, 0, "absent"),
        ({"Runtimes": {"runc": {}}}, 1, "problem"),
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, 1, "ok"),
        ({"Runtimes": {}, "DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}, 1, "ok"),
    ],
)
def test_the_container_toolkit_matters_where_there_are_gpus(info: Any, gpus: int, state: str) -> None:
    client: Any = SimpleNamespace(info=lambda: info)
    assert gpu.check_toolkit(client, gpus=gpus).state == state
    assert gpu.check_toolkit(None, gpus=gpus).state == "absent"


def usage(**sizes: float) -> Any:
    fields = {"total": 1000 * GIB, "used": 0, "free": 500 * GIB}
    return lambda path: SimpleNamespace(**(fields | sizes))


@pytest.mark.parametrize(("free", "state"), [(1 * GIB, "problem"), (20 * GIB, "warning"), (500 * GIB, "ok")])
def test_a_disk_that_is_filling_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", usage(free=free))
    found = [f for f in machine.check_disks(tmp_path / "not" / "made", None) if "work folder" in f.subject]
    assert [finding.state for finding in found] == [state]
    assert (found[0].mend == "") == (state == "ok")


def test_a_small_shared_memory_is_enlarged_by_the_command_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", usage(total=64 << 20))
    finding = machine.check_shared_memory(tmp_path)
    assert finding.state == "warning"
    assert finding.mend.startswith("sudo mount -o remount,size=")
    assert machine.check_shared_memory(tmp_path / "none").state == "absent"


def test_limits_of_memory_and_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=2 * GIB, total=4 * GIB)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: memory)
    assert machine.check_memory().found.startswith("2.0 GiB of 4.0 GiB available")
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (256, 100_000))
    assert machine.check_open_files().mend == "ulimit -n 4096"
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (256, 256))
    assert "limits.conf" in machine.check_open_files().mend


@pytest.mark.parametrize(
    ("shift", "service", "state"),
    [
        (0.0, None, "ok"),
        (0.0, True, "ok"),
        (0.0, False, "warning"),
        (3600.0, True, "warning"),  # against the disk's clock
        (-1e9, None, "problem"),
    ],
)
def test_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float, service: bool | None, state: str
) -> None:
    right = time.time
    monkeypatch.setattr(machine, "_time_service", lambda: service)
    monkeypatch.setattr(machine.time, "time", lambda: right() + shift)
    finding = machine.check_clock(tmp_path)
    assert finding.state == state, finding
    assert (finding.mend == "") == (state == "ok")


def test_the_work_folder(tmp_path: Path) -> None:
    assert machine.check_work_folder(tmp_path / "new" / "work").state == "ok"
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    if os.geteuid() != 0:  # to root all folders are writable
        tmp_path.chmod(0o500)
        assert machine.check_work_folder(tmp_path).state == "problem"
    file = tmp_path / "file"
    file.touch()
    assert machine.check_work_folder(file).state == "problem"


def test_datasets_are_opened_where_they_are_said_to_be(tmp_path: Path, shapes_root: Path) -> None:
    shapes, *_ = [f for f in material.check_datasets({"shapes": shapes_root}) if "shapes" in f.subject]
    assert shapes.state == "ok"
    assert shapes.found.startswith("train ")
    findings = {f.subject: f for f in material.check_datasets({"voc": tmp_path})}
    assert findings["data (voc)"].mend == f"harness data prepare voc --root {tmp_path}"
    assert findings["data (voc)"].state == "problem"
    assert findings["data (coco)"].state == "absent"
    with pytest.raises(InputError, match=r"no dataset 'vod' \(did you mean 'voc'"):
        list(material.check_datasets({"vod": tmp_path}))


def test_weights_with_a_wrong_checksum_are_a_problem(tmp_path: Path) -> None:
    registry = tmp_path / "weights.yaml"
    registry.write_text(
        "net:\n  url: https://weights.invalid/net.pth\n  sha256_prefix: '00000000'\n"
        "  licence: none\n  origin: a test\n"
    )
    assert material.check_weights(registry, tmp_path).state == "absent"
    (tmp_path / "net.pth").write_bytes(b"cut off")
    finding = material.check_weights(registry, tmp_path)
    assert (finding.state, finding.mend) == ("problem", "harness weights fetch net")


def test_the_command_prints_findings_and_fails_only_for_problems(
    command: Command, tmp_path: Path, shapes_root: Path
) -> None:
    fine = command("doctor", "--work-dir", tmp_path, "--data", f"shapes={shapes_root}", "--json")
    findings = [Finding(**finding) for finding in json.loads(fine.output)]
    subjects = {finding.subject for finding in findings}
    assert {"packages", "Docker", "GPU driver", "container toolkit", "work folder"} <= subjects
    assert {"shared memory", "memory", "clock", "data (shapes)", "weights"} <= subjects
    assert fine.status == (1 if any(finding.state == "problem" for finding in findings) else 0)
    broken = command("doctor", "--work-dir", tmp_path, "--data", f"voc={tmp_path / 'none'}")
    assert broken.status == 1
    assert f"data (voc): harness data prepare voc --root {tmp_path / 'none'}" in broken.output
    wrong = command("doctor", "--data", "voc")
    assert (wrong.status, "NAME=FOLDER" in wrong.sentence) == (2, True)
