"""What tests of sweeps start in the place of `harness run`: `python -m tests.unit.probe_run FOLDER WHAT`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    """Note an attempt in the folder, then end as asked for."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    attempt = len(list(folder.glob("attempt_*")))
    (folder / f"attempt_{attempt}").write_text(f"{os.getpid()}\n")
    print(f"attempt {attempt}", flush=True)
    if what == "fails":
        print("error: it is asked for", file=sys.stderr)
        return 2
    if what == "waits" and attempt == 0:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            time.sleep(120)
        except KeyboardInterrupt:
            (folder / "terminated").touch()
            return 130
    if what == "meets":  # ends when another one is there at the same time
        deadline = time.monotonic() + 60
        while len(list(folder.parent.glob("*/attempt_0"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return 0 if time.monotonic() < deadline else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
