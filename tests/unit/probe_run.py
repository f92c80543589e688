"""What tests of sweeps start in the place of `harness run`: `python -m tests.unit.probe_run FOLDER WHAT`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.waiting import until


def main() -> int:
    """Note an attempt in the folder, then end as asked for."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    attempt = len(list(folder.glob("attempt_*")))
    waits = what == "waits" and attempt == 0
    if waits:  # before anybody can see that it is there
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        (folder / f"attempt_{attempt}").write_text(f"{os.getpid()}\n")
        print(f"attempt {attempt}", flush=True)
        if waits:
            time.sleep(9999)
    except KeyboardInterrupt:
        (folder / "terminated").touch()
        return 130
    if what == "fails":
        print("error: it is asked for", file=sys.stderr)
        return 2
    if what == "meets":  # ends when another one is there at the same time
        until(lambda: len(list(folder.parent.glob("*/attempt_0"))) == 2, "the other run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
