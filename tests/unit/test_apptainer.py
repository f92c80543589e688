"""Stages in Apptainer: what its command line gives a container, with a program that notes it in its place."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from harness import images
from harness.errors import InputError
from harness.executors import Exit, choose
from harness.executors.apptainer import ApptainerExecutor, image_file
from tests.unit.test_executors import make_job
from tests.waiting import until

# Notes its arguments and the variables that are for the container; answers what is asked of an image.
FAKE = """
import json, os, sys
if "-c" in sys.argv:
    print(json.dumps(dict(executor="local", identity="", image=None, image_id=None, image_digest=None,
                          python="3.11.2", packages=dict(torch="2.11.0"), platform="Linux")))
else:
    inside = {{n: v for n, v in os.environ.items() if n.startswith("APPTAINERENV_")}}
    json.dump([sys.argv[1:], inside], open(os.path.join({folder!r}, "called.json"), "w"))
    print("from inside")
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `apptainer`, and an image of vwe in the cache."""
    monkeypatch.setattr(images, "method_tag", lambda method: f"wsss-harness/{method}:0123")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "apptainer"
    script = folder / "apptainer.py"
    script.write_text(FAKE.format(folder=str(tmp_path)))
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')  # paths may have spaces
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    image = tmp_path / "cache" / "apptainer" / "wsss-harness_vwe_0123.sif"
    image.parent.mkdir(parents=True)
    image.touch()
    return tmp_path


def ended(
    executor: ApptainerExecutor, folder: Path, **changes: object
) -> tuple[Exit, list[str], dict[str, str]]:
    process = executor.start(make_job(folder, **changes))
    found = until(process.poll)
    arguments, inside = json.loads((folder / "called.json").read_text())
    return found, arguments, inside


def test_a_stage_may_write_to_its_folder_alone_and_has_nothing_of_the_user(fake: Path) -> None:
    data = fake / "data"
    how, arguments, inside = ended(ApptainerExecutor(), fake, read_only=(data, data, fake))
    assert how == Exit(0, "done")
    assert (fake / "cam.log").read_text() == "from inside\n"
    binds = [arguments[place + 1] for place, word in enumerate(arguments) if word == "--bind"]
    assert binds == [f"{fake}:{fake}:rw", f"{data}:{data}:ro"]
    assert {"exec", "--containall", "--cleanenv"} <= set(arguments)
    assert "--nv" not in arguments
    image = fake / "cache" / "apptainer" / "wsss-harness_vwe_0123.sif"
    command = ["python", "-m", "harness.executors.guard", "0", "harness.stage", str(fake / "stage.json")]
    assert arguments[-7:] == [str(image), *command]
    assert inside["APPTAINERENV_HOME"] == "/tmp"
    assert inside["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == ""


def test_gpus_are_handed_on(fake: Path) -> None:
    _, arguments, inside = ended(ApptainerExecutor(), fake, gpus=("GPU-a", "GPU-b"))
    assert "--nv" in arguments
    assert inside["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_the_environment_is_that_of_the_image(fake: Path) -> None:
    executor, reason = choose("apptainer")
    assert (executor.name, reason) == ("apptainer", "as asked")
    found = executor.environment("vwe")
    assert (found.executor, found.python, found.packages) == ("apptainer", "3.11.2", {"torch": "2.11.0"})
    assert found.identity.startswith("docker-")  # the same packages have the same keys
    assert found.image == str(fake / "cache" / "apptainer" / "wsss-harness_vwe_0123.sif")


def test_what_is_missing_is_said_with_the_remedy(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"docker save wsss-harness/cam:0123 -o image\.tar"):
        image_file("cam")
    monkeypatch.setenv("PATH", str(fake / "nowhere"))
    with pytest.raises(InputError, match="apptainer is not installed here"):
        ApptainerExecutor().environment("vwe")
