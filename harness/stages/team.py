"""Processes that share a stage, one per GPU: the stage's own process leads, the others help.

The leader starts `python -m harness.stages.helper` once per other process. All of them run the stage's
function on a part of its work; the leader alone writes what belongs to the whole.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from harness.artifact import Artifact
from harness.errors import InputError
from harness.progress import read_progress
from harness.stage import StageContext, StageResult, refuse

_HOST = "127.0.0.1"
_POLL = 0.2  # seconds between two looks at the helpers
_GRACE = 10.0  # seconds in which an exception of the leader may be the echo of a helper's
_PATIENCE = timedelta(hours=2)  # for one part of a collective operation; a validation may lie in between
# All processes are on one machine, and a container's only interface is the loopback.
_INTERFACE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def stage_device(context: StageContext) -> torch.device:
    """The GPU of this process, the CPU where the stage has none."""
    if not (context.request.gpus and torch.cuda.is_available()):
        return torch.device("cpu")
    return torch.device("cuda", context.rank if context.request.processes > 1 else 0)


class Team:
    """Context manager around a stage's work in one of its processes.

    Args:
        context: of the stage.
        connected: let the processes talk by `torch.distributed`, as a training must.
        alone: this process does everything, although the stage may have more.

    Attributes:
        rank: of this process; 0 leads.
        size: number of processes.
    """

    def __init__(self, context: StageContext, *, connected: bool = False, alone: bool = False) -> None:
        self.rank, self.size = context.rank, 1 if alone else context.request.processes
        self._context = context
        self._connected = connected and self.size > 1
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._closed = threading.Event()
        self._threads = torch.get_num_threads()

    @property
    def leads(self) -> bool:
        """Whether this process writes what belongs to the whole stage."""
        return self.rank == 0

    def part(self, items: Sequence[Any]) -> list[Any]:
        """Every size-th of the items: those that are for this process."""
        return list(items[self.rank :: self.size])

    def __enter__(self) -> Team:
        if self.size == 1:
            return self
        if (device := stage_device(self._context)).type == "cuda":
            torch.cuda.set_device(device)
        torch.set_num_threads(max(1, self._context.request.workers // self.size))
        for name, value in _INTERFACE.items():
            os.environ.setdefault(name, value)
        store = dist.TCPStore(
            _HOST, self._context.port, self.size, is_master=self.leads, wait_for_workers=False
        )
        if self.leads:
            self._start(store.port)
        if self._connected:
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.size, timeout=_PATIENCE
            )
        self._store = store  # the others lose their connection when the leader's is collected
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        try:
            if error is None:
                self.wait()
            elif isinstance(error, RuntimeError):  # also what a broken connection raises
                deadline = time.monotonic() + _GRACE
                while self._helpers and not self._failed() and time.monotonic() < deadline:
                    time.sleep(_POLL)
                if self._failed():
                    raise self._failure() from error
        finally:
            self._closed.set()
            for helper in self._helpers:
                helper.kill()
                helper.wait()
            if self._connected and dist.is_initialized():
                dist.destroy_process_group()
            torch.set_num_threads(self._threads)

    def wait(self, tick: Callable[[], None] = lambda: None) -> None:
        """Wait until all helpers are done.

        Args:
            tick: called now and then meanwhile.

        Raises:
            InputError: a helper found its input wrong.
            RuntimeError: a helper crashed.
        """
        while any(helper.poll() is None for helper in self._helpers) and not self._failed():
            tick()
            time.sleep(_POLL)
        if self._failed():
            raise self._failure()
        tick()

    def done(self) -> int:
        """Units that the helpers have done so far."""
        found = [read_progress(folder) for folder in self._folders()]
        return sum(progress.done for progress in found if progress)

    def rates(self, own: float | None) -> float | None:
        """Images per second of all processes, from this one's own; None if one of them was too short."""
        rates = [own, *(_result(folder)["images_per_second"] for folder in self._folders())]
        known = [rate for rate in rates if rate is not None]
        return sum(known) if len(known) == len(rates) else None

    def _folders(self) -> list[Path]:
        return (
            [helper_folder(self._context.artifact, rank) for rank in range(1, self.size)]
            if self.leads
            else []
        )

    def _start(self, port: int) -> None:
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        for rank, folder in enumerate(self._folders(), start=1):
            shutil.rmtree(folder, ignore_errors=True)  # of a killed attempt
            folder.mkdir(parents=True)
            arguments = (str(self._context.artifact.folder / "stage.json"), str(rank), str(port))
            self._helpers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "harness.stages.helper", *arguments, str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                )
            )
        threading.Thread(target=self._watch, name="helpers", daemon=True).start()

    def _watch(self) -> None:
        """End this process some time after a helper has failed: NCCL would wait for it for hours."""
        while not self._closed.wait(_POLL):
            if self._failed() and not self._closed.wait(2 * _GRACE):
                failure = self._failure()
                if isinstance(failure, InputError):
                    os._exit(refuse(self._context.artifact.folder, str(failure)))
                sys.stderr.write(f"error: {failure}\n")
                os._exit(1)

    def _failed(self) -> list[int]:
        """Ranks of the helpers that ended badly."""
        return [rank for rank, helper in enumerate(self._helpers, start=1) if helper.poll() not in (None, 0)]

    def _failure(self) -> Exception:
        rank = self._failed()[0]
        status = self._helpers[rank - 1].returncode
        error = helper_folder(self._context.artifact, rank) / "error.json"
        if status == 2 and error.is_file():
            return InputError(json.loads(error.read_text(encoding="utf-8"))["message"])
        return RuntimeError(
            f"process {rank + 1} of the {self.size} that share the stage ended with status {status}: "
            "see its output above"
        )


def helper_folder(artifact: Artifact, rank: int) -> Path:
    """Where a helper says how far it is and how it ended; goes with the state of the stage."""
    return artifact.state / f"helper_{rank}"


def leave_result(context: StageContext, result: StageResult) -> None:
    """Hand what a helper did to the leader."""
    path = helper_folder(context.artifact, context.rank) / "result.json"
    path.write_text(json.dumps({"images_per_second": result.images_per_second}), encoding="utf-8")


def _result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def gathered(value: Any) -> list[Any]:
    """The value of each process, by rank; of this one alone where it works alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def synchronise_buffers(model: torch.nn.Module) -> None:
    """Give the model the buffers of the leader; batch norms have met other samples in each process."""
    if dist.is_available() and dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
