"""The Docker engine: whether one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError

if TYPE_CHECKING:
    from docker import DockerClient

_TIMEOUT = 60  # seconds that the engine may take for one answer


def connect() -> DockerClient:
    """The engine that DOCKER_HOST or the default socket names.

    Raises:
        InputError: no engine answers.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    import docker

    try:
        client = docker.from_env(timeout=_TIMEOUT)
        client.ping()
    except (DockerException, RequestException) as error:
        raise InputError(
            f"no Docker engine answers ({_cause(error)}): start it, see that you may use its socket, "
            "or take --executor local"
        ) from error
    return client


def _cause(error: BaseException) -> str:
    """The innermost of a chain of wrapped errors: `[Errno 2] No such file or directory`."""
    seen = error
    while seen.__context__ is not None:
        seen = seen.__context__
    return str(seen).rstrip(".")
