"""Stages as containers: no network, nothing writable but the artifact folder, no privileges."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from docker.errors import APIError, DockerException, NotFound
from docker.types import DeviceRequest, LogConfig, Mount
from docker.utils.socket import frames_iter
from requests.exceptions import RequestException

from harness import images
from harness.errors import InputError
from harness.executors import STAGE_MODULE, Environment, Exit, Job, Reason
from harness.image_recipes import environment_hash

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient

KEY_LABEL = "wsss-harness.key"
_GIB = 1 << 30
_MEMORY_SHARE = 0.9  # of the host's memory, where a job sets no limit
_PROCESSES = 4096  # threads count too, and each data loading process starts one per core
_GRACE = 10  # seconds between SIGTERM and SIGKILL
SCRATCH = {
    "HOME": "/tmp",
    "USER": "harness",  # the caller's uid has no name inside, and torch asks for one
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "TORCH_HOME": "/tmp/torch",
    "XDG_CACHE_HOME": "/tmp/cache",
}
DESCRIBE = (
    "import dataclasses, json; from harness.executors.local import LocalExecutor; "
    "print(json.dumps(dataclasses.asdict(LocalExecutor().environment(''))))"
)


class DockerExecutor:
    """Executes each stage in a fresh container of the method's image.

    Args:
        client: the engine.
        say: receives a line now and then while an image is built.
    """

    name = "docker"

    def __init__(self, client: DockerClient, say: Callable[[str], None] | None = None) -> None:
        self._client = client
        self._say = say
        self._tags: dict[str, str] = {}

    def environment(self, method: str) -> Environment:
        """The method's image, built if it is missing or stale, and what it has installed.

        Raises:
            InputError: the image cannot be built or does not run.
        """
        image = images.build(method, progress=self._say, client=self._client)
        try:
            output = self._client.containers.run(
                image.tag, ["-c", DESCRIBE], entrypoint=["python"], remove=True, **sandbox(_GIB)
            )
        except DockerException as error:
            raise InputError(
                f"image {image.tag} does not run ({error}): delete it, then build it again"
            ) from error
        self._tags[method] = image.tag
        return dataclasses.replace(
            Environment(**json.loads(output)),
            executor=self.name,
            identity=f"docker-{environment_hash(method)}",
            image=image.tag,
            image_id=image.id,
            image_digest=image.digest,
        )

    def image_id(self, reference: str) -> str:
        """The id of an image that the engine has; it is not pulled, since its address is not ours to trust.

        Raises:
            InputError: the engine does not have it.
        """
        try:
            return str(self._client.images.get(reference).id)
        except NotFound as error:
            raise InputError(
                f"there is no image {reference}, which a stage of the config is made by: "
                "build it, or docker pull it"
            ) from error

    def start(self, job: Job) -> DockerProcess:
        """Start the stage's container; what is left of an earlier one with the same key is removed first.

        Raises:
            InputError: the image is not there, or the engine refuses the container.
        """
        if job.image is not None:
            return self.start_in(job.image, job.command, job)
        # Looked up once per method: the images that a run began with are the ones that it ends with.
        tag = self._tags.setdefault(job.method, images.method_tag(job.method))
        return self.start_in(tag, ["python", "-m", "harness.executors.guard", "0", STAGE_MODULE], job)

    def start_in(self, tag: str, command: Sequence[str], job: Job) -> DockerProcess:
        """Start `command PATH/stage.json` in a container of an image; without a command, the image's own."""
        self._remove_leftovers(job.key)
        limit = job.memory_limit or int(_MEMORY_SHARE * self._client.info()["MemTotal"])
        options = sandbox(limit, job)
        try:
            container = self._client.containers.create(
                tag,
                [*command[1:], str(job.folder / "stage.json")],
                entrypoint=[command[0]] if command else None,
                environment={**SCRATCH, **job.env},
                labels={KEY_LABEL: job.key},
                log_config=LogConfig(type=LogConfig.types.NONE),
                stdin_open=True,
                **options,
            )
        except APIError as error:
            raise _refused(job, error) from error
        try:
            # Attached before the start, and not by following the engine's own log, whose last lines can get
            # lost when the container ends. Standard input is the guard's lifeline: it ends with this process.
            stdio = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            container.start()
        except APIError as error:
            container.remove(force=True)
            raise _refused(job, error) from error
        return DockerProcess(container, stdio, job.log)

    def _remove_leftovers(self, key: str) -> None:
        """Stop and remove the containers of a key: their harness is gone, since it held the key."""
        for container in self._client.containers.list(all=True, filters={"label": f"{KEY_LABEL}={key}"}):
            try:
                container.stop(timeout=_GRACE)
                container.remove(force=True)
            except NotFound:
                continue  # removed by itself meanwhile


class DockerProcess:
    """A stage's container; a thread copies its output to the log and notes how it ends."""

    def __init__(self, container: Container, stdio: Any, log: Path) -> None:
        self._container = container
        self._stdio = stdio
        self._stopping = False
        self._exit: Exit | None = None
        self._error: Exception | None = None
        file = log.open("ab")
        self._thread = threading.Thread(
            target=self._follow, args=(file,), name=f"log of {log.stem}", daemon=True
        )
        self._thread.start()

    def poll(self) -> Exit | None:
        """How the stage ended, or None while it runs.

        Raises:
            InputError: the engine stopped answering.
        """
        if self._error is not None:
            raise InputError(
                f"the Docker engine stopped answering ({self._error}): start it, then run again to resume"
            ) from self._error
        return self._exit

    def stop(self) -> None:
        """End the container and wait until it is removed."""
        self._stopping = True
        try:
            self._container.stop(timeout=_GRACE)
        except NotFound:
            pass  # it ended and was removed meanwhile
        except (DockerException, RequestException) as error:
            self._error = error
            return
        self._thread.join()

    def _follow(self, log: BinaryIO) -> None:
        try:
            with log:
                for _, chunk in frames_iter(self._stdio, tty=False):
                    log.write(chunk)
                    log.flush()
            status = self._container.wait()["StatusCode"]
            self._container.reload()
            ended = Exit(status, self._reason(status, self._container.attrs["State"]["OOMKilled"]))
            self._stdio.close()
            self._container.remove(force=True)
            self._exit = ended
        except Exception as error:  # handed to the thread that polls
            self._error = error

    def _reason(self, status: int, out_of_memory: bool) -> Reason:
        if self._stopping:
            return "stopped"
        if status == 0:
            return "done"
        if out_of_memory:
            return "out of memory"
        return "killed" if status == 137 else "failed"


def sandbox(memory: int, job: Job | None = None) -> dict[str, Any]:
    """What a container may: arguments of the Docker SDK.

    Every path of the job is mounted where it is outside, so that `stage.json` holds for both.

    Args:
        memory: limit in bytes, without swap.
        job: the stage whose files, GPUs and data loaders it is for; None for none of them.
    """
    options: dict[str, Any] = {
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},
        "user": f"{os.getuid()}:{os.getgid()}",
        "group_add": [str(group) for group in os.getgroups()],  # a dataset may be readable to a group only
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": _PROCESSES,
        "init": True,
    }
    if job is None:
        return options
    inputs = [path for path in dict.fromkeys(job.read_only) if path != job.folder]
    options["mounts"] = [
        Mount(str(job.folder), str(job.folder), type="bind"),
        *(Mount(str(path), str(path), type="bind", read_only=True) for path in inputs),
    ]
    options["shm_size"] = min(memory // 2, (1 + job.workers) * _GIB)  # data loaders hand over batches there
    if job.gpus:
        options["device_requests"] = [DeviceRequest(device_ids=list(job.gpus), capabilities=[["gpu"]])]
    return options


def _refused(job: Job, error: APIError) -> InputError:
    reason = str(error.explanation or error).strip().rstrip(".")
    return InputError(f"the Docker engine refuses the container of stage '{job.name}': {reason}")
