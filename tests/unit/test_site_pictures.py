"""Pictures on the site: rows by image, stored once, and never anything that is no picture of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data import open_dataset
from harness.record import RunRecord
from harness.stages.examples import COUNT
from tests.site_pages import build
from tests.site_samples import give_examples, synthetic_run

SPLITS = {"seeds": "train", "pseudo_eval": "train", "seg_eval": "val", "seg_crf_eval": "val"}


def test_pictures_are_in_rows_by_image_and_stored_once(tmp_path: Path, shapes_root: Path) -> None:
    records = [synthetic_run("twice", seed) for seed in range(3)]
    for run in records[:2]:
        give_examples(run, tmp_path / "work", open_dataset("shapes", shapes_root), SPLITS)
    site = build(tmp_path / "site", records, tmp_path / "work")
    first, second, without = (site.run_page(run) for run in records)
    assert len(first.of("div", class_="example")) == 2 * COUNT
    captions = [caption.words for caption in first.of("figcaption")]
    assert captions[:7] == [
        "image",
        "CAM",
        "seed at 0.2",
        "errors of seed at 0.2",
        "pseudo",
        "errors of pseudo",
        "ground truth",
    ]
    assert captions.count("errors of seg+CRF") == COUNT
    assert not without.of("div", class_="example")
    shown = {image.attributes["src"] for image in first.of("img")}
    assert shown == {image.attributes["src"] for image in second.of("img")}
    assert shown == {f"../../pictures/{path.name}" for path in (site.folder / "pictures").iterdir()}
    assert site.warnings == []


@pytest.fixture
def pictured(tmp_path: Path, shapes_root: Path) -> tuple[RunRecord, Path]:
    """A run whose seeds have examples, and the folder of those."""
    run = synthetic_run("pictured")
    give_examples(run, tmp_path / "work", open_dataset("shapes", shapes_root), {"seeds": "train"})
    seeds = next(stage for stage in run.stages if stage.name == "seeds")
    return run, tmp_path / "work" / seeds.artifact / "files" / "examples"


def images(tmp_path: Path, run: RunRecord) -> tuple[int, list[str]]:
    """Number of figures on the page of a run, and what was warned of."""
    site = build(tmp_path / "site", [run], tmp_path / "work")
    return len(site.run_page(run).of("figure")), site.warnings


def test_a_broken_picture_is_left_out_with_a_warning(
    tmp_path: Path, pictured: tuple[RunRecord, Path]
) -> None:
    run, folder = pictured
    whole, _ = images(tmp_path, run)
    (folder / "0_errors.png").write_bytes(b"no picture")
    (folder / "1_errors.png").unlink()
    found, warnings = images(tmp_path, run)
    assert found == whole - 2
    assert len(warnings) == 1
    assert "0_errors.png cannot be read and is left out" in warnings[0]


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '{"split": "train", "examples": [{"id": 3}]}'])
def test_a_broken_index_is_left_out_with_a_warning(
    tmp_path: Path, pictured: tuple[RunRecord, Path], content: str
) -> None:
    run, folder = pictured
    (folder / "index.json").write_text(content)
    found, warnings = images(tmp_path, run)
    assert found == 0
    assert "index.json cannot be read and are left out" in warnings[0]


@pytest.mark.parametrize("name", ["../../../../secret.png", "/etc/passwd", "index.json", "a b.png", ".png"])
def test_pictures_come_from_the_examples_alone(
    tmp_path: Path, pictured: tuple[RunRecord, Path], name: str
) -> None:
    run, folder = pictured
    whole, _ = images(tmp_path, run)
    (folder / "../../../../secret.png").write_bytes((folder / "0_truth.png").read_bytes())
    index = json.loads((folder / "index.json").read_text())
    index["examples"][0]["pictures"]["errors"] = name
    (folder / "index.json").write_text(json.dumps(index))
    assert images(tmp_path, run) == (whole - 1, [])


def test_a_link_to_elsewhere_is_no_picture(tmp_path: Path, pictured: tuple[RunRecord, Path]) -> None:
    run, folder = pictured
    whole, _ = images(tmp_path, run)
    (folder / "0_errors.png").rename(tmp_path / "elsewhere.png")
    (folder / "0_errors.png").symlink_to(tmp_path / "elsewhere.png")
    assert images(tmp_path, run) == (whole - 1, [])
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert images(tmp_path, run) == (0, [])


@pytest.mark.parametrize("lead_out", ["../elsewhere", "absolute"])
def test_artifacts_lie_in_the_work_folder(
    tmp_path: Path, pictured: tuple[RunRecord, Path], lead_out: str
) -> None:
    run, folder = pictured
    (folder.parents[1]).rename(tmp_path / "elsewhere")
    seeds = next(stage for stage in run.stages if stage.name == "seeds")
    seeds.artifact = str(tmp_path / "elsewhere") if lead_out == "absolute" else lead_out
    assert images(tmp_path, run) == (0, [])
