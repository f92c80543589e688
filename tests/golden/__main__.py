"""`python -m tests.golden FILE.json …`: a line per golden case, exit status 1 if one fails."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from tests.golden.case import load_adapters, load_cases, run_case


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("-k", dest="only", default="", help="run only cases whose name contains this text")
    options = parser.parse_args(arguments)
    # With several threads sums change their order: a gradient golden drifts to 1e-3 that is exact with one.
    torch.set_num_threads(1)
    load_adapters()
    counts = {"pass": 0, "FAIL": 0, "skip": 0}
    for path in options.files:
        try:
            cases = load_cases(path)
        except (OSError, ValueError) as error:
            print(f"error: cannot read {path}: {error}", file=sys.stderr)
            return 2
        for case in cases:
            if options.only not in case.name:
                continue
            start = time.perf_counter()
            outcome = run_case(case)
            counts[outcome.status] += 1
            error = "" if outcome.error is None else f"{outcome.error:9.2e}"
            seconds = time.perf_counter() - start
            print(
                f"{outcome.status:4}  {case.name:42} {error:>9} (tolerance {case.tolerance:.0e}) "
                f"{seconds:5.1f} s  {outcome.detail}",
                flush=True,
            )
    print(f"{counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] or not sum(counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
