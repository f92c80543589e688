"""Executors start a stage as a process or as a container, and know nothing of what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from harness.errors import InputError, nearest

EXECUTORS = ("auto", "docker", "local", "apptainer")
STAGE_MODULE = "harness.stage"

Reason = Literal["done", "failed", "out of memory", "killed", "stopped"]


@dataclass(frozen=True)
class Job:
    """One stage to execute.

    Attributes:
        name: the stage's name, for people.
        key: its key; at most one process works on a key at a time.
        method: the method whose environment it needs.
        folder: its artifact folder, which contains `stage.json`; the only place it may write to.
        read_only: files and folders that it reads: inputs, dataset, weights.
        log: file that gets its standard output and error while it runs.
        gpus: UUIDs of the GPUs that it may use.
        memory_limit: bytes; None for the executor's default.
        workers: data loading processes that it will start.
        env: additional environment variables.
        image, command: what executes it instead of the method's own image, if it is foreign; an empty
            command is the image's own.
    """

    name: str
    key: str
    method: str
    folder: Path
    read_only: tuple[Path, ...]
    log: Path
    gpus: tuple[str, ...]
    memory_limit: int | None
    workers: int
    env: Mapping[str, str]
    image: str | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exit:
    """How a stage ended: its exit status (negative: the signal that ended it) and why."""

    status: int
    reason: Reason


@dataclass(frozen=True)
class Environment:
    """Interpreter and packages that stages are executed with.

    Attributes:
        executor: name of the executor.
        identity: hash of all but the project's own source, which stage keys count separately.
        image, image_id, image_digest: tag, id and registry digest of the container image, where there is one.
        python: version of the interpreter.
        packages: name → version of every installed package.
        platform: operating system and machine, as the stage sees them.
    """

    executor: str
    identity: str
    image: str | None
    image_id: str | None
    image_digest: str | None
    python: str
    packages: Mapping[str, str]
    platform: str


class Process(Protocol):
    """A stage that was started."""

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs. Returns at once."""

    def stop(self) -> None:
        """End it with everything that it started, and wait until all is gone."""


class Executor(Protocol):
    """Starts stages."""

    name: str

    def environment(self, method: str) -> Environment:
        """What stages of a method are executed with; makes it where it is missing.

        Raises:
            InputError: it cannot be made.
        """

    def image_id(self, reference: str) -> str:
        """The content hash of the image that a foreign stage names.

        Raises:
            InputError: it is not there, or this executor has no images.
        """

    def start(self, job: Job) -> Process:
        """Start `python -m harness.stage FOLDER/stage.json`.

        The stage does not outlive this process, however this process ends.

        Raises:
            InputError: it cannot be started.
        """


def choose(name: str, say: Callable[[str], None] | None = None) -> tuple[Executor, str]:
    """The executor of a name, and why it is this one.

    Args:
        name: `docker`, `local`, or `auto` for Docker where an engine answers and local elsewhere.
        say: receives a line now and then while an image is built, which takes minutes.

    Raises:
        InputError: there is no such executor, or no engine for it.
    """
    if name not in EXECUTORS:
        raise InputError(
            f"unknown executor '{name}'{nearest(name, EXECUTORS)}: take one of {', '.join(EXECUTORS)}"
        )
    from harness.executors.local import LocalExecutor

    if name == "local":
        return LocalExecutor(), "as asked"
    if name == "apptainer":
        from harness.executors.apptainer import ApptainerExecutor

        return ApptainerExecutor(), "as asked"
    from harness.engine import connect
    from harness.executors.docker import DockerExecutor

    try:
        client = connect()
    except InputError as error:
        if name == "docker":
            raise
        return LocalExecutor(), str(error).partition(":")[0]
    reason = "as asked" if name == "docker" else "a Docker engine answers"
    return DockerExecutor(client, say), reason
