"""The campaign finds nothing, and would find what it looks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
INPUTS = 100_000  # forty seconds of a core


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=4 * PATIENCE
    )


def test_wrong_input_is_refused_in_one_sentence_and_runs_nothing() -> None:
    done = python("-m", "tests.fuzz", "--inputs", str(INPUTS))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    accepted, refused, faults = re.findall(r"│ all +│ ([\d,]+) +│ ([\d,]+) +│ ([\d,]+) ", done.stdout)[0]
    assert int(accepted.replace(",", "")) + int(refused.replace(",", "")) == INPUTS
    assert faults == "0"
    # A reader that refuses everything would be tested for nothing.
    assert not re.search(r"│ 0 +│ [\d,]+ +│ 0 ", done.stdout), done.stdout


def test_the_guard_notices_code_and_files_elsewhere(tmp_path: Path) -> None:
    for statement, noticed in (
        ("os.system('true')", "os.system"),
        ("exec('1')", "exec"),
        ("pickle.loads(b'cos\\nsystem\\n.')", "pickle.find_class"),
        ("open('../secret/file')", "read"),
        ("open('../elsewhere', 'w')", "open for writing"),
        ("os.symlink('a', '../link')", "os.symlink"),
        ("open('inside', 'w').close()", ""),
        ("collections.namedtuple('A', 'a')", "exec"),
    ):
        script = f"""
import collections, os, pickle
from pathlib import Path
from tests.fuzz.guard import Guard
root = Path({str(tmp_path)!r})
for name in ("scratch", "secret"):
    (root / name).mkdir(exist_ok=True)
(root / "secret" / "file").touch()
os.chdir(root / "scratch")
guard = Guard(root / "scratch", root / "secret")
try:
    with guard.armed():
        {statement}
except PermissionError:
    pass
print(guard.violations)
"""
        done = python("-c", script)
        assert done.stdout.strip() != "[]" if noticed else done.stdout.strip() == "[]", (statement, done)
        assert noticed in done.stdout
