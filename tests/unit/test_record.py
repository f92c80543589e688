"""Records: nothing is lost on disk, and what shortens a run is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.record import WeightsRecord, export_schema, read_record, read_records
from tests.record_samples import metric, record, stage

ROOT = Path(__file__).parents[2]


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = record(stage("seeds", metric("seed", 0.571234567, "best of sweep", 0.13)), stage("seg_eval"))
    written.write(tmp_path)
    assert read_record(tmp_path / "record.json") == written
    assert [found.value for found in written.metrics] == [0.571234567]


def test_gpu_fields_without_a_gpu_are_null_and_never_zero(tmp_path: Path) -> None:
    record(stage("cam")).write(tmp_path)
    measured = json.loads((tmp_path / "record.json").read_text())["stages"][0]["report"]["measurements"]
    gpu = {name: value for name, value in measured.items() if name.startswith(("gpu", "torch"))}
    assert gpu
    assert all(value is None for value in gpu.values())


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({}, []),
        ({"smoke": True}, ["smoke"]),
        ({"smoke": True, "limit": 4}, ["smoke"]),
        ({"limit": 4}, ["limit 4"]),
        ({"overrides": ["stages.cam.train_cfg.max_epochs=1"]}, ["overrides"]),
        ({"weights": [WeightsRecord(name="resnet50", sha256=None)]}, ["random weights"]),
        ({"weights": []}, []),
        ({"dataset": {"official": False}}, ["custom data"]),
        ({"limit": 4, "overrides": ["a=1"]}, ["limit 4", "overrides"]),
    ],
)
def test_what_makes_a_run_less_than_a_full_one_is_marked(changes: dict[str, Any], marks: list[str]) -> None:
    assert record(stage("cam"), **changes).marks == marks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the record .*No such file"),
        ("{", "is no record of schema 1: the document: "),
        ("{}", "is no record of schema 1: run_id: Field required; remove it or run again"),
    ],
)
def test_what_is_no_record_is_one_sentence(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_record(path)


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"colour": "blue"}])
def test_a_record_of_another_schema_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    document = record(stage("cam")).model_dump(mode="json") | change
    (tmp_path / "record.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=f"schema 1: {next(iter(change))}"):
        read_record(tmp_path / "record.json")


def test_records_of_a_work_folder_come_oldest_first(tmp_path: Path) -> None:
    for run_id in ("20220101-b", "20210101-c"):
        folder = tmp_path / "runs" / run_id
        folder.mkdir(parents=True)
        record(stage("cam"), run_id=run_id).write(folder)
    assert [found.run_id for found in read_records(tmp_path, pytest.fail)] == ["20210101-c", "20220101-b"]
    assert read_records(tmp_path / "nowhere", pytest.fail) == []


def test_a_record_that_cannot_be_read_does_not_sink_the_others(tmp_path: Path) -> None:
    for run_id in ("a", "b"):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        record(stage("cam"), run_id=run_id).write(tmp_path / "runs" / run_id)
    (tmp_path / "runs" / "a" / "record.json").write_text("{")
    warnings: list[str] = []
    assert [found.run_id for found in read_records(tmp_path, warnings.append)] == ["b"]
    assert len(warnings) == 1
    assert str(tmp_path / "runs" / "a") in warnings[0]


def test_the_documented_schema_is_that_of_the_code(tmp_path: Path) -> None:
    export_schema(tmp_path / "record.schema.json")
    documented = (ROOT / "docs" / "record.schema.json").read_text()
    assert documented == (tmp_path / "record.schema.json").read_text(), (
        "update it: harness schema docs/record.schema.json"
    )
