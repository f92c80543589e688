"""Stages that try to break out of their container: each fails, and the record says as what."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from rich.console import Console

from harness.engine import connect
from harness.errors import InputError
from harness.executors import docker
from harness.executors.local import LocalExecutor
from harness.image_recipes import DEBIAN
from harness.prepare import RunOptions, prepare
from harness.record import RunRecord, read_records
from harness.run import Run, StageFailed
from tests.waiting import PATIENCE

pytestmark = pytest.mark.docker
CONFIG = """
title = "Attack"
dataset = dict(name="shapes", num_classes=10)
stages = dict(
    attack=dict(
        type="refine", split="train", foreign=dict(image={image!r}, command=["bash", "-c", {script!r}])
    ),
)
"""
Attack = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def engine() -> Any:
    try:
        client = connect()
    except InputError as error:
        pytest.skip(str(error))
    if not client.images.list(name=DEBIAN):
        pytest.skip(f"no image {DEBIAN}: docker pull it, or run ci/docker-bootstrap.sh")
    return client


@pytest.fixture
def attack(engine: Any, tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch) -> Attack:
    """Runs a script as a stage; it gets the path of `stage.json` as $0."""
    # Without the image of a method, which takes minutes to build and takes no part in this.
    monkeypatch.setattr(
        docker.DockerExecutor, "environment", lambda self, method: LocalExecutor().environment(method)
    )

    def attack(script: str, **changes: Any) -> RunRecord:
        path = tmp_path / "attack" / "shapes.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(CONFIG.format(image=DEBIAN, script=script))
        monkeypatch.setattr("harness.prepare.find_config", lambda method, dataset, variant=None: path)
        work = tmp_path / "work"
        options = RunOptions(
            method="cam",
            dataset="shapes",
            data_root=shapes_root,
            work=work,
            executor="docker",
            limit=2,
            **changes,
        )
        with pytest.raises(StageFailed):
            Run(prepare(options, lambda text: None), Console(quiet=True)).execute()
        return read_records(work, pytest.fail)[-1]

    return attack


def log_of(tmp_path: Path) -> str:
    return max((tmp_path / "work" / "runs").glob("*/logs/attack.log")).read_text()


def test_the_dataset_cannot_be_written(attack: Attack, tmp_path: Path, shapes_root: Path) -> None:
    before = sorted(path.name for path in shapes_root.rglob("*"))
    image = next((shapes_root / "JPEGImages").iterdir())
    content = image.read_bytes()
    run = attack(f"touch '{shapes_root}/probe'; echo x > '{image}'; rm '{image}'; exit 3")
    assert sorted(path.name for path in shapes_root.rglob("*")) == before
    assert image.read_bytes() == content
    assert log_of(tmp_path).count("Read-only file system") == 3
    assert run.state == "failed"
    assert "exit status 3" in (run.error or "")


@pytest.fixture
def server() -> Iterator[tuple[int, list[Any]]]:
    """A server on all addresses of this machine, and who came."""
    came: list[Any] = []
    with socket.create_server(("", 0)) as listening:
        listening.settimeout(0.2)
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, address = listening.accept()
                except TimeoutError:
                    continue
                came.append(address)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield listening.getsockname()[1], came
        stop.set()
        thread.join()


def test_the_network_cannot_be_reached(
    attack: Attack, tmp_path: Path, server: tuple[int, list[Any]], engine: Any
) -> None:
    port, came = server
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"]
    hosts = ["127.0.0.1", *(config["Gateway"] for config in bridge if "Gateway" in config)]
    tries = "; ".join(f"(exec 3<>/dev/tcp/{host}/{port}) && echo reached" for host in hosts)
    assert attack(f"{tries}; exit 4").state == "failed"
    assert came == []
    assert "reached" not in log_of(tmp_path)
    for host in hosts:  # from outside, somebody answers
        socket.create_connection((host, port), timeout=PATIENCE).close()


def test_folders_of_other_runs_are_not_there(attack: Attack, tmp_path: Path) -> None:
    runs, artifacts = (tmp_path / "work" / name for name in ("runs", "artifacts"))
    weights = artifacts / "other" / "files" / "model.pth"
    weights.parent.mkdir(parents=True)
    weights.write_text("secret weights")
    run = attack(f"cat '{weights}' '{runs}/'*/record.json; ls '{artifacts}'; exit 5")
    log = log_of(tmp_path)
    assert "secret" not in log
    assert "run_id" not in log
    listed = [line for line in log.splitlines() if not line.startswith("cat: ")]  # which come when they like
    assert listed == [run.stages[0].key]  # its own artifact is all that it sees
    assert "exit status 5" in (run.error or "")


def test_a_fork_bomb_stays_below_its_limit_and_is_a_timeout(
    attack: Attack, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_PROCESSES", 64)
    seen = [0]
    stop = threading.Event()

    def own(container: Any) -> bool:
        return any(tmp_path in Path(mount["Source"]).parents for mount in container.attrs["Mounts"])

    def watch() -> None:
        while not stop.wait(0.1):
            # One that has ended meanwhile is not listed, and its numbers are missing.
            for container in engine.containers.list(filters={"label": docker.KEY_LABEL}, ignore_removed=True):
                with suppress(NotFound):
                    numbers = container.stats(stream=False, one_shot=True) if own(container) else {}
                    seen.append(numbers.get("pids_stats", {}).get("current") or 0)

    watching = threading.Thread(target=watch)
    watching.start()
    for limit in (4.0, 16.0, 64.0, 256.0):  # seconds, until the bomb had time to go off
        run = attack("bomb() { bomb | bomb & }; bomb; sleep 9999", timeout=limit)
        assert run.state == "timeout"
        key = f"{docker.KEY_LABEL}={run.stages[0].key}"
        assert engine.containers.list(all=True, filters={"label": key}) == []
        if max(seen) > 32:
            break
    stop.set()
    watching.join()
    assert 32 < max(seen) <= 64


def test_a_stage_that_fills_its_memory_is_out_of_memory(attack: Attack) -> None:
    run = attack("tail /dev/zero", memory=0.0625)
    assert run.state == "out of memory"
    assert "out of memory" in (run.error or "")


def test_a_stage_that_goes_on_too_long_is_a_timeout(attack: Attack) -> None:
    run = attack("trap '' TERM; while true; do sleep 1; done", timeout=2.0)
    assert run.state == "timeout"
    assert "time limit of 2 s" in (run.error or "")


def test_nobody_becomes_root(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker.os, "getuid", lambda: 12345)
    monkeypatch.setattr(docker.os, "getgid", lambda: 12345)
    monkeypatch.setattr(docker.os, "getgroups", list)
    tries = [
        "echo uid $(id -u)",
        "su root -c 'echo root by su' </dev/null",
        "unshare --user --map-root-user sh -c 'echo root by unshare'",
        "mount -t tmpfs none /mnt && echo mounted",
        "chown 0 /tmp && echo chowned",
        "grep CapEff /proc/self/status",
        "echo 1 > /proc/sys/kernel/panic && echo kernel",
    ]
    assert attack("; ".join(tries) + "; exit 6").state == "failed"
    lines = log_of(tmp_path).splitlines()
    assert "uid 12345" in lines
    assert "CapEff:\t0000000000000000" in lines
    assert not {"root by su", "root by unshare", "mounted", "chowned", "kernel"} & set(lines)
