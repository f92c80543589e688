"""What a stage's container may and may not do, seen from inside; on a bare Debian image, to be quick."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from harness import images
from harness.engine import connect
from harness.errors import InputError
from harness.executors import Exit, Job, Process
from harness.executors.docker import KEY_LABEL, DockerExecutor
from harness.image_contents import differences, read_contents, read_lock
from harness.image_recipes import DEBIAN
from tests.waiting import until

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[2]


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
def job(engine: Any, tmp_path: Path) -> Iterator[Job]:
    data = tmp_path / "a data set"
    data.mkdir()
    (data / "image.txt").write_text("pixels\n")
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "stage.json").write_text("{}")
    log = tmp_path / "cam.log"
    job = Job("cam", uuid4().hex, "vwe", folder, (data,), log, (), 256 << 20, 2, {"GREETING": "hello"})
    yield job
    for container in containers(engine, job):
        container.remove(force=True)


def start(engine: Any, job: Job, script: str) -> Process:
    """Run a shell script that gets the path of `stage.json` as $0."""
    return DockerExecutor(engine).start_in(DEBIAN, ["/bin/sh", "-c", script], job)


def containers(engine: Any, job: Job) -> list[Any]:
    return engine.containers.list(all=True, filters={"label": f"{KEY_LABEL}={job.key}"})


def wait(process: Process) -> Exit:
    return until(process.poll)


def seen_inside(engine: Any, job: Job, script: str) -> list[str]:
    assert wait(start(engine, job, script)) == Exit(0, "done")
    return job.log.read_text().splitlines()


def test_paths_are_the_same_inside_and_the_artifact_belongs_to_the_caller(engine: Any, job: Job) -> None:
    script = f'echo "$0" "$GREETING"; cat "{job.read_only[0]}/image.txt"; echo x > "{job.folder}/out"'
    assert seen_inside(engine, job, script) == [f"{job.folder}/stage.json hello", "pixels"]
    status = (job.folder / "out").stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert containers(engine, job) == []


def test_only_the_artifact_and_tmp_are_writable(engine: Any, job: Job) -> None:
    places = ["/", "/etc", "/usr/bin", "/home", str(job.read_only[0]), str(job.folder), "/tmp"]
    tries = "; ".join(f'touch "{place}/probe" 2>/dev/null && echo "{place}"' for place in places)
    assert seen_inside(engine, job, f"{tries}; true") == [str(job.folder), "/tmp"]


def test_no_network_no_capabilities_no_new_privileges_no_socket(engine: Any, job: Job) -> None:
    script = "ls /sys/class/net; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
    lines = seen_inside(engine, job, f"{script}; ls /var/run/docker.sock 2>&1 | grep -c 'No such file'")
    assert lines[0] == "lo"
    facts = dict(line.split(":\t") for line in lines[1:-1])
    nothing = "0" * 16
    assert facts == {
        "CapEff": nothing,
        "CapPrm": nothing,
        "CapBnd": nothing,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    assert lines[-1] == "1"


def test_the_last_output_of_a_stage_reaches_the_log(engine: Any, job: Job) -> None:
    for _ in range(5):
        job.log.unlink(missing_ok=True)
        seen_inside(engine, job, "seq 5000; printf end")
        assert job.log.read_text().endswith("4999\n5000\nend")


def test_data_loaders_have_shared_memory(engine: Any, job: Job) -> None:
    (line,) = seen_inside(engine, job, "df --block-size=1M --output=size /dev/shm | tail -1")
    assert int(line) == 128  # half of the memory limit


def test_a_failing_stage_passes_its_status_on(engine: Any, job: Job) -> None:
    assert wait(start(engine, job, "echo broken >&2; exit 2")) == Exit(2, "failed")
    assert job.log.read_text() == "broken\n"


def test_a_stage_above_its_memory_limit_is_out_of_memory(engine: Any, job: Job) -> None:
    ended = wait(start(engine, job, "tail /dev/zero; exit $?"))
    assert ended.reason == "out of memory"
    assert ended.status != 0


def test_the_log_grows_while_the_stage_runs_and_stop_leaves_nothing(engine: Any, job: Job) -> None:
    process = start(engine, job, "echo running; exec sleep 9999")
    until(lambda: job.log.read_text() == "running\n")
    process.stop()
    ended = process.poll()
    assert ended is not None
    assert ended.reason == "stopped"
    assert containers(engine, job) == []


def test_what_a_killed_harness_left_is_removed_before_the_same_key_starts_again(
    engine: Any, job: Job
) -> None:
    abandoned = engine.containers.run(
        DEBIAN, ["sleep", "9999"], detach=True, labels={KEY_LABEL: job.key}, init=True
    )
    process = start(engine, job, "exec sleep 9999")
    assert [container.id == abandoned.id for container in containers(engine, job)] == [False]
    process.stop()


def test_a_killed_harness_closes_the_lifeline_of_its_container(engine: Any, job: Job) -> None:
    harness = textwrap.dedent(f"""
        import time
        from pathlib import Path, PosixPath
        from harness.engine import connect
        from harness.executors import Job
        from tests.e2e.test_docker import start
        process = start(connect(), {job!r}, "echo up; cat; echo end")
        time.sleep(9999)
    """)
    with subprocess.Popen([sys.executable, "-c", harness], cwd=ROOT) as process:
        until(lambda: job.log.exists() and job.log.read_text() == "up\n")
        process.kill()
    until(lambda: [container.status for container in containers(engine, job)] == ["exited"])


def test_a_container_that_the_engine_refuses_is_one_sentence(engine: Any, job: Job) -> None:
    missing = replace(job, read_only=(job.folder.parent / "gone",))
    with pytest.raises(InputError, match=r"refuses the container of stage 'cam': .*gone"):
        start(engine, missing, "true")
    assert containers(engine, job) == []


def test_the_stack_of_a_method_image_runs_in_the_sandbox(engine: Any, job: Job) -> None:
    if images.verify("base", client=engine) is not images.ImageState.CURRENT:
        pytest.skip("no current base image, which takes minutes to build: harness image build base")
    tag = images.build("vwe", client=engine).tag
    script = "import torch, mmseg, cv2, pydensecrf.densecrf; print(torch.__version__.partition('+')[0])"
    larger = replace(job, memory_limit=4 << 30)
    ended = wait(DockerExecutor(engine).start_in(tag, ["python", "-c", script], larger))
    assert (ended.reason, job.log.read_text().splitlines()[-1:]) == ("done", ["2.11.0"])


def test_the_base_image_holds_what_the_lock_says(engine: Any) -> None:
    if images.verify("base", client=engine) is not images.ImageState.CURRENT:
        pytest.skip("no current base image, which takes minutes to build: harness image build base")
    contents = read_contents(engine, images.method_tag("base"))
    wrong = differences(read_lock("base"), contents.packages)
    if contents.snapshot == "unpinned":  # then Debian's packages are those of the day
        wrong = [words for words in wrong if not words.startswith("debian ")]
    assert wrong == []
    held = {name for manager, name in contents.packages if manager == "debian"}
    assert held.isdisjoint({"g++", "gcc", "python3.11-dev", "python3-pip"})
    assert ("python", "pip") not in contents.packages
