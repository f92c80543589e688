"""Runs a module that ends with the harness: `python -m harness.executors.guard FD harness.stage PATH`.

FD is the reading end of a pipe whose writing end only the harness holds and never writes to. It reaches its
end when the harness is gone, also after SIGKILL, and then the module's whole process group is killed. A pipe
rather than PR_SET_PDEATHSIG, which fires when the *thread* that started the child ends and which does not
reach into a container.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def die_with(pipe: int) -> None:
    """Kill this process group once `pipe` is at its end; returns at once."""

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="guard", daemon=True).start()


if __name__ == "__main__":
    _, descriptor, module, *arguments = sys.argv
    die_with(int(descriptor))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
