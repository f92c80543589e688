"""What a record says about machine, packages and commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from harness.hardware import describe, git_state
from tests.unit.fake_nvml import FakeGpu, FakeNvml


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_machine_without_a_gpu() -> None:
    hardware = describe(FakeNvml())
    assert hardware.gpus == []
    assert hardware.memory_bytes == psutil.virtual_memory().total
    assert hardware.usable_cpus >= 1
    assert all([hardware.cpu, hardware.os, hardware.kernel, hardware.architecture])


def test_gpus_with_driver_and_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    hardware = describe(FakeNvml(FakeGpu(), FakeGpu()))
    assert [(gpu.name, gpu.memory_bytes) for gpu in hardware.gpus] == [("Fake GPU", 16 << 30)]
    assert (hardware.gpu_driver, hardware.cuda) == ("580.65", "13.1")


def test_commit_and_dirty_flag(checkout: Path) -> None:
    state = git_state(checkout / "code.py")
    assert state is not None
    assert (state.commit, state.dirty) == (git(checkout, "rev-parse", "HEAD"), False)
    (checkout / "code.py").write_text("2")
    changed = git_state(checkout / "code.py")
    assert changed is not None
    assert changed.dirty


def test_untracked_file_makes_it_dirty(checkout: Path) -> None:
    (checkout / "new.py").write_text("")
    state = git_state(checkout / "code.py")
    assert state is not None
    assert state.dirty


def test_no_commit_outside_a_checkout(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("1")
    assert git_state(tmp_path / "code.py") is None


def test_installed_copy_inside_another_checkout_has_no_commit(checkout: Path) -> None:
    installed = checkout / ".venv" / "harness"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("1")
    assert git_state(installed / "code.py") is None


def test_no_commit_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout / "code.py") is None
