"""A method by others: an image with its own Python and nothing of ours, from its stage to the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import images
from harness.artifact import Artifact
from harness.data.shapes_scene import CLASSES
from harness.engine import connect
from harness.errors import InputError
from harness.image_recipes import DEBIAN
from harness.prepare import RunOptions, prepare
from harness.record import RunRecord
from harness.run import Run
from tests.command import Command

FOLDER = Path(__file__).parents[1] / "foreign"
TAG = "wsss-harness-tests/border-colour:1"
CONFIG = f"""
title = "Border colour"
dataset = dict(name="shapes", num_classes=10)
stages = dict(
    masks=dict(
        type="refine",
        split="train",
        foreign=dict(image="{TAG}"),
        settings=dict(distance=90, classes={list(CLASSES)!r}),
    ),
    pseudo=dict(type="evaluate", split="train", masks="masks", number="pseudo"),
)
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The method's config, which `harness run --method border_colour` would find in methods/."""
    path = tmp_path / "border_colour" / "shapes.py"
    path.parent.mkdir()
    path.write_text(CONFIG)
    monkeypatch.setattr("harness.prepare.find_config", lambda method, dataset, variant=None: path)
    return path


def execute(work: Path, shapes_root: Path, **changes: Any) -> RunRecord:
    options = RunOptions(method="cam", dataset="shapes", data_root=shapes_root, work=work, **changes)
    return Run(prepare(options, lambda text: None), Console(quiet=True)).execute()


@pytest.mark.docker
def test_a_foreign_method_lands_in_the_leaderboard(
    config: Path, tmp_path: Path, shapes_root: Path, command: Command
) -> None:
    try:
        client = connect()
    except InputError as error:
        pytest.skip(str(error))
    if images.verify("base", client=client) is not images.ImageState.CURRENT:
        pytest.skip("no current base image, which takes minutes to build: harness image build base")
    if not client.images.list(name=DEBIAN):
        pytest.skip(f"no image {DEBIAN}: docker pull it, or run ci/docker-bootstrap.sh")
    client.images.build(path=str(FOLDER), tag=TAG, network_mode="host", rm=True)
    work = tmp_path / "work"
    run = execute(work, shapes_root, executor="docker", limit=8)
    (number,) = run.metrics
    assert number.value > 0.08  # one class of eleven right would be 9 %
    made, _ = run.stages
    artifact = Artifact(work / made.artifact)
    assert (made.state, artifact.problem(), artifact.manifest.kind) == ("done", None, "masks")
    assert made.report is not None
    assert made.report.measurements.host_memory_peak_bytes > 1 << 20
    again = execute(work, shapes_root, executor="docker", limit=8)
    assert [stage.state for stage in again.stages] == ["reused", "reused"]
    table = command("leaderboard", "--work-dir", work)
    assert table.status == 0, table.errors
    assert f"{100 * number.value:.1f}" in table.output


def test_a_foreign_stage_needs_a_container_engine(config: Path, tmp_path: Path, shapes_root: Path) -> None:
    with pytest.raises(InputError, match=f"by the foreign image {TAG}, which needs a container engine"):
        execute(tmp_path / "work", shapes_root, executor="local", limit=2)
    assert not (tmp_path / "work" / "runs").exists()
