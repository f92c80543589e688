"""The lock of the images: it is written and read again, and what differs is named."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import InputError
from harness.image_contents import Contents, Layer, differences, layers, read_lock, write_lock
from harness.image_recipes import ROOT

BASE = {("debian", "python3.11"): "3.11.2-6", ("python", "torch"): "2.11.0"}
OWN = BASE | {("python", "torch"): "2.12.0", ("debian", "git"): "1:2.39"}


def test_what_was_locked_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "images.lock"
    write_lock({"base": Contents(BASE, "unpinned"), "own": Contents(OWN, "unpinned")}, path)
    assert read_lock("base", path) == BASE
    assert read_lock("own", path) == OWN
    assert read_lock("another", path) == BASE
    assert "torch 2.12.0" in path.read_text().partition("[own]")[2]


def test_differences_are_named() -> None:
    found = {("debian", "python3.11"): "3.11.2-7", ("debian", "curl"): "8"}
    assert differences(BASE, found) == [
        "debian curl is 8, locked: not at all",
        "debian python3.11 is 3.11.2-7, locked: 3.11.2-6",
        "python torch is missing, locked: 2.11.0",
    ]
    assert differences(BASE, BASE) == []


@pytest.mark.parametrize("content", [None, "[base]\nnpm left-pad 1\n", "[base]\npython torch\n"])
def test_a_lock_that_is_none_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "images.lock"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="write it with `harness image lock`"):
        read_lock("base", path)


def test_the_project_s_lock_holds_what_the_other_locks_want() -> None:
    locked = read_lock("base")
    for name in ("torch", "timm", "mmengine", "pydantic"):
        found = [version for (manager, package), version in locked.items() if package.endswith(name)]
        assert found, name
    runtime = (ROOT / "requirements" / "runtime.lock").read_text(encoding="utf-8")
    assert f"torch=={locked['python', 'torch']}" in runtime
    assert f"timm=={locked['python', 'timm']}" in runtime


def test_layers_are_told_by_what_made_them() -> None:
    history = [
        {"Size": 7, "CreatedBy": "|1 A=b /bin/sh -c apt-get update     && true"},
        {"Size": 0, "CreatedBy": "/bin/sh -c #(nop)  ENV A=b"},
        {"Size": 3, "CreatedBy": "/bin/sh -c #(nop) COPY dir:0 in /opt "},
    ]
    image = SimpleNamespace(history=lambda: history)
    client: Any = SimpleNamespace(images=SimpleNamespace(get=lambda tag: image))
    assert layers(client, "tag") == [Layer(3, "COPY dir:0 in /opt"), Layer(7, "RUN apt-get update && true")]


SOURCES = """\
Types: deb
# {archive}/debian/20240423T000000Z
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
"""


@pytest.mark.parametrize(
    ("sources", "given", "expected"),
    [
        (SOURCES.format(archive="http://past.invalid/archive"), "", "http://past.invalid/archive"),
        (
            SOURCES.format(archive="http://past.invalid/archive"),
            "https://own.invalid/x",
            "https://own.invalid/x",
        ),
        ("deb http://mirror.invalid/debian bookworm main\n", "", None),
    ],
)
def test_debian_s_packages_are_of_the_snapshot_s_day(
    tmp_path: Path, sources: str, given: str, expected: str | None
) -> None:
    etc = tmp_path / "etc"
    (etc / "apt" / "sources.list.d").mkdir(parents=True)
    (etc / "apt" / "preferences.d").mkdir()
    (etc / "apt" / "sources.list.d" / "debian.sources").write_text(sources)
    script = (ROOT / "docker" / "debian-snapshot.sh").read_text().replace("/etc/", f"{etc}/")
    (tmp_path / "debian-snapshot.sh").write_text(script)
    (tmp_path / "debian.snapshot").write_text("# why\n20261115T000000Z\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/asked\n")
    (tools / "apt-get").chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "DEBIAN_SNAPSHOTS": given}
    subprocess.run(["sh", tmp_path / "debian-snapshot.sh"], env=environment, check=True, capture_output=True)
    asked = (tmp_path / "asked").read_text().split()
    mark = (etc / "wsss-harness-debian").read_text().strip()
    if expected is None:
        assert (mark, asked) == ("unpinned", ["update"])
        assert (etc / "apt" / "sources.list.d" / "debian.sources").exists()
    else:
        assert (mark, asked) == ("20261115T000000Z", ["update", "dist-upgrade"])
        lines = (etc / "apt" / "sources.list").read_text().splitlines()
        assert lines[0] == f"deb [check-valid-until=no] {expected}/debian/20261115T000000Z bookworm main"
        assert lines[2].split()[2] == f"{expected}/debian-security/20261115T000000Z"
        assert not (etc / "apt" / "sources.list.d" / "debian.sources").exists()
