"""Stages as processes of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import InputError
from harness.executors import STAGE_MODULE, Environment, Exit, Job, Reason

# Packages that a stage's numbers may depend on; another ruff is no reason to train again.
NUMERIC = (
    "numpy",
    "onedl-mmcv",
    "onedl-mmengine",
    "onedl-mmsegmentation",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "pycocotools",
    "pydensecrf2",
    "scipy",
    "torch",
    "torchvision",
)
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL


class LocalExecutor:
    """Executes stages with this interpreter, each in a session of its own.

    Nothing is held back from them: no memory limit, the network and the whole file system are there.
    """

    name = "local"
    module = STAGE_MODULE

    def environment(self, method: str) -> Environment:
        """This interpreter and its packages, the same for every method."""
        packages = installed_packages()
        numeric = sorted(f"{name}=={version}" for name, version in packages.items() if name in NUMERIC)
        python = platform.python_version()
        text = "\n".join([f"{platform.python_implementation()} {python} {platform.machine()}", *numeric])
        return Environment(
            executor=self.name,
            identity=f"local-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            image=None,
            image_id=None,
            image_digest=None,
            python=python,
            packages=packages,
            platform=platform.platform(),
        )

    def image_id(self, reference: str) -> str:
        """There are no images here.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"a stage is made by the foreign image {reference}, which needs a container engine: "
            "start Docker and take --executor docker"
        )

    def start(self, job: Job) -> LocalProcess:
        """Start the stage; it is killed when this process ends."""
        env = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": ",".join(job.gpus),
            "PYTHONPATH": os.pathsep.join(filter(None, [_source_root(), os.environ.get("PYTHONPATH")])),
            "PYTHONUNBUFFERED": "1",
            **job.env,
        }
        guard = [sys.executable, "-m", "harness.executors.guard", "0", self.module]
        return spawn([*guard, str(job.folder / "stage.json")], job, env)


def spawn(command: Sequence[str], job: Job, env: Mapping[str, str]) -> LocalProcess:
    """Start a stage's command; its standard input is the guard's lifeline, which ends with this process."""
    reading, writing = os.pipe()
    kills = _kernel_kills()
    try:
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=reading,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job.folder,
                env=env,
                start_new_session=True,
            )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return LocalProcess(process, writing, kills)


class LocalProcess:
    """A stage's process, with the group of processes that it leads."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int, kernel_kills: int | None) -> None:
        self._process = process
        self._lifeline: int | None = lifeline
        self._kernel_kills = kernel_kills
        self._stopping = False

    def poll(self) -> Exit | None:
        """How the stage ended, or None while it runs."""
        if self._process.returncode is None:
            # Looked at without reaping: the group's number cannot be taken by others before it is killed.
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self._process.pid, options) is None:
                return None
            self._signal(signal.SIGKILL)  # data loading processes that it left behind
            self._process.wait()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        return Exit(self._process.returncode, self._reason(self._process.returncode))

    def stop(self) -> None:
        """End the stage and everything that it started, and wait."""
        if self.poll() is not None:
            return
        self._stopping = True
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while self.poll() is None:
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _reason(self, status: int) -> Reason:
        if self._stopping:
            return "stopped"
        if status == -signal.SIGKILL:
            return "out of memory" if self._kernel_kills != _kernel_kills() else "killed"
        return "done" if status == 0 else "failed"


def installed_packages() -> dict[str, str]:
    """Name → version of every package that this interpreter finds; names as the index writes them."""
    return {
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version
        for found in importlib.metadata.distributions()
    }


def _source_root() -> str:
    return str(Path(__file__).parents[2])


def _kernel_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since boot; None if it does not say."""
    try:
        counters = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^oom_kill (\d+)$", counters, re.MULTILINE)
    return int(found[1]) if found else None
