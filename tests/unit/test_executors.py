"""Stages as processes: how they end, what they leave behind, what they are given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.errors import InputError
from harness.executors import Exit, Job, Process, choose, local
from harness.executors.docker import sandbox
from harness.executors.local import LocalExecutor
from tests.waiting import until

ROOT = Path(__file__).parents[2]
Start = Callable[..., Process]


class Probe(LocalExecutor):
    """Executes the module `probe` in the place of the stage process."""

    module = "probe"


def make_job(folder: Path, **changes: object) -> Job:
    fields: dict[str, object] = {
        "name": "cam",
        "key": "0123",
        "method": "vwe",
        "folder": folder,
        "read_only": (),
        "log": folder / "cam.log",
        "gpus": (),
        "memory_limit": None,
        "workers": 2,
        "env": {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
    }
    return Job(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def start(source: str, **changes: object) -> Process:
        (tmp_path / "probe.py").write_text(textwrap.dedent(source))
        return Probe().start(make_job(tmp_path, **changes))

    return start


def wait(process: Process) -> Exit:
    return until(process.poll)


def number_in(file: Path) -> int | None:
    return int(text) if file.exists() and (text := file.read_text()).endswith("\n") else None


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_stage_gets_its_request_and_its_output_goes_to_the_log(start: Start, tmp_path: Path) -> None:
    process = start("import sys; print(sys.argv[1]); print('to stderr', file=sys.stderr)")
    assert wait(process) == Exit(0, "done")
    lines = (tmp_path / "cam.log").read_text().splitlines()
    assert sorted(lines) == sorted([str(tmp_path / "stage.json"), "to stderr"])


def test_a_stage_sees_only_the_gpus_of_its_job(start: Start, tmp_path: Path) -> None:
    source = "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    for gpus, seen in ((("1", "3"), "'1,3'"), ((), "''")):
        wait(start(source, gpus=gpus, log=tmp_path / "gpus.log"))
        assert (tmp_path / "gpus.log").read_text().splitlines()[-1] == seen


def test_exit_status_is_passed_on(start: Start) -> None:
    assert wait(start("raise SystemExit(2)")) == Exit(2, "failed")


def test_a_stage_that_somebody_kills_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_kernel_kills", lambda: 7)  # whatever it does to others meanwhile
    process = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert wait(process) == Exit(-signal.SIGKILL, "killed")


def test_a_stage_that_the_kernel_kills_is_out_of_memory(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = iter([7, 8])
    monkeypatch.setattr(local, "_kernel_kills", lambda: next(counter, 8))
    process = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert wait(process).reason == "out of memory"


CHILD = """
    import os, signal, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(1, flush=True); time.sleep(9999)"],
        stdout=subprocess.PIPE)
    child.stdout.readline()
    with open("child.pid", "w") as file:
        print(child.pid, file=file)
"""


def test_stop_ends_everything_that_the_stage_started(start: Start, tmp_path: Path) -> None:
    process = start(CHILD + "    time.sleep(9999)\n")
    child = until(lambda: number_in(tmp_path / "child.pid"))
    process.stop()
    ended = process.poll()
    assert ended is not None
    assert ended.reason == "stopped"
    until(lambda: is_gone(child))


def test_a_stage_that_crashes_leaves_no_data_loaders(start: Start, tmp_path: Path) -> None:
    assert wait(start(CHILD + "    raise SystemExit(1)\n")) == Exit(1, "failed")
    child = number_in(tmp_path / "child.pid")
    assert child is not None
    until(lambda: is_gone(child))


def test_a_stage_does_not_outlive_a_killed_harness(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import os, time\nprint(os.getpid(), file=open('stage.pid', 'w'), flush=True)\ntime.sleep(9999)\n"
    )
    harness = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from tests.unit.test_executors import Probe, make_job
        process = Probe().start(make_job(Path({str(tmp_path)!r})))
        time.sleep(9999)
    """)
    with subprocess.Popen([sys.executable, "-c", harness], cwd=ROOT) as process:
        stage = until(lambda: number_in(tmp_path / "stage.pid"))
        process.kill()
    until(lambda: is_gone(stage))


def test_identity_counts_numeric_packages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(**packages: str) -> str:
        monkeypatch.setattr(local, "installed_packages", lambda: packages)
        return LocalExecutor().environment("vwe").identity

    assert identity(torch="2.11.0", ruff="1") == identity(torch="2.11.0", ruff="2")
    assert identity(torch="2.11.0") != identity(torch="2.12.0")


def test_the_environment_lists_what_is_installed() -> None:
    environment = LocalExecutor().environment("vwe")
    assert environment.packages["numpy"].count(".") == 2
    assert environment.image is None


def test_an_unknown_executor_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown executor 'dokcer' \(did you mean 'docker'\?\)"):
        choose("dokcer")


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.mark.usefixtures("no_engine")
def test_auto_is_local_without_an_engine_and_says_so() -> None:
    executor, reason = choose("auto")
    assert executor.name == "local"
    assert "no Docker engine answers" in reason


@pytest.mark.usefixtures("no_engine")
def test_docker_without_an_engine_is_wrong_input() -> None:
    with pytest.raises(InputError, match=r"no Docker engine answers .*: start it"):
        choose("docker")


def test_a_container_mounts_inputs_read_only_where_they_are(tmp_path: Path) -> None:
    data, folder = tmp_path / "data set", tmp_path / "artifact"
    options = sandbox(1 << 30, make_job(folder, read_only=(data, data, folder), gpus=("2",)))
    mounts = {mount["Source"]: (mount["Target"], mount["ReadOnly"]) for mount in options["mounts"]}
    assert mounts == {str(folder): (str(folder), False), str(data): (str(data), True)}
    assert options["device_requests"][0]["DeviceIDs"] == ["2"]
    assert "device_requests" not in sandbox(1 << 30, make_job(folder))
