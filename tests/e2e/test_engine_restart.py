"""Docker's engine is restarted in the middle of a stage: one sentence, and the stage goes on when it answers.

The engine is one of the test's own, so that nobody else's containers end.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.errors import DockerException
from requests.exceptions import RequestException

import docker
from harness.engine import connect
from harness.errors import InputError
from harness.executors import Exit, Job
from harness.executors.docker import DockerExecutor
from harness.image_recipes import DEBIAN
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.docker
# File after file, those of before kept, as a stage with a file per image has it; after the third it waits
# until it is told to go on.
_SCRIPT = """
cd "$(dirname "$0")"
for i in 1 2 3 4 5 6 7 8 9; do
    [ -e $i ] || touch $i
    while [ $i = 3 ] && [ ! -e "go on" ]; do sleep 0.1; done
done
"""


@dataclass
class Engine:
    """An engine with a folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def start(self) -> docker.DockerClient:
        """Start it; returns when it answers."""
        options = {
            "host": self.url,
            "data-root": self.folder / "data",
            "exec-root": self.folder / "exec",
            "pidfile": self.folder / "pid",
            "bridge": "none",
            "iptables": "false",
        }
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            # In a network of its own: an engine without a bridge removes that of the others.
            command = [
                "unshare",
                "--net",
                "dockerd",
                *(f"--{name}={value}" for name, value in options.items()),
            ]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return docker.DockerClient(base_url=self.url, timeout=20)  # asks for the version
            except (DockerException, RequestException):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log_end = (self.folder / "log").read_text()[-300:]
                    pytest.skip(f"a second engine does not start on this machine: {log_end}")
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it, as a restart of the service does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


@pytest.fixture
def engine() -> Iterator[Engine]:
    try:
        connect()
    except InputError as error:
        pytest.skip(str(error))
    if shutil.which("dockerd") is None:
        pytest.skip("the engine is on another machine")
    folder = Path(tempfile.mkdtemp(prefix="wsss-", dir="/tmp"))  # sockets have short names
    own = Engine(folder)
    yield own
    own.stop()
    subprocess.run(["pkill", "-f", str(folder)], check=False)
    time.sleep(0.5)
    for mount in sorted(Path("/proc/mounts").read_text().splitlines(), reverse=True):
        if (place := mount.split()[1]).startswith(str(folder)):
            subprocess.run(["umount", "--lazy", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def poll(process: Any) -> Exit | InputError:
    """How a stage ended, or what was said of the engine."""

    def how() -> Exit | InputError | None:
        try:
            return process.poll()
        except InputError as error:
            return error

    return until(how, "the end of a stage")


def test_a_stage_goes_on_after_its_engine_was_restarted(engine: Engine, tmp_path: Path) -> None:
    client = engine.start()
    with subprocess.Popen(["docker", "save", DEBIAN], stdout=subprocess.PIPE) as saved:
        subprocess.run(["docker", "--host", engine.url, "load"], stdin=saved.stdout, check=True)
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "stage.json").write_text("{}")
    job = Job("cam", "key", "vwe", folder, (), tmp_path / "cam.log", (), 256 << 20, 1, {})
    process = DockerExecutor(client).start_in(DEBIAN, ["/bin/sh", "-c", _SCRIPT], job)
    until((folder / "3").exists, "the third file")
    engine.stop()
    said = poll(process)
    if isinstance(said, InputError):
        assert "the Docker engine stopped answering" in str(said)
        assert "start it, then run again to resume" in str(said)
    else:  # it had time to tell that it ended the container
        assert said.reason != "done"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name.isdigit()}
    (folder / "go on").touch()
    client = engine.start()
    ended = poll(DockerExecutor(client).start_in(DEBIAN, ["/bin/sh", "-c", _SCRIPT], job))
    assert ended == Exit(0, "done")
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name.isdigit()}
    assert set(after) == set("123456789")
    assert {name: after[name] for name in before} == before
    assert client.containers.list(all=True) == []
