"""The leaderboard as data: what is averaged, who ranks, and what stands beside it."""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from typing import Any

import pytest

from harness.hardware import Gpu
from harness.record import RunRecord, WeightsRecord
from leaderboard.aggregate import make_board, score
from leaderboard.board import Board, DatasetBoard, Entry
from leaderboard.published import Published
from tests.record_samples import metric, record, stage


def run(
    method: str = "vwe", seg: float | None = None, seed_miou: float | None = None, **changes: Any
) -> RunRecord:
    stages = []
    if seed_miou is not None:
        stages.append(stage("seeds", metric("seed", seed_miou, "best of sweep", 0.13)))
    if seg is not None:
        stages.append(stage("seg_eval", metric("seg", seg)))
    return record(*stages, **{"method": method, "run_id": f"{method}-{changes.get('seed', 0)}"} | changes)


def voc(*records: RunRecord, published: Published | None = None) -> DatasetBoard:
    return make_board(records, published).only("voc").datasets[0]


def ranks(*records: RunRecord) -> list[tuple[int | None, str]]:
    return [(entry.rank, entry.method) for entry in voc(*records).entries]


def only_entry(*records: RunRecord) -> Entry:
    (entry,) = voc(*records).entries
    return entry


def test_the_best_segmentation_is_first_and_seeds_alone_come_after_it() -> None:
    found = ranks(
        run("seeds only", seed_miou=0.9),
        run("second", 0.6, 0.1),
        run("first", 0.7),
        run("low", seed_miou=0.5),
    )
    assert found == [(1, "first"), (2, "second"), (3, "seeds only"), (4, "low")]


def test_the_better_of_seg_and_seg_crf_ranks() -> None:
    with_crf = record(stage("a", metric("seg", 0.5)), stage("b", metric("seg_crf", 0.7)), method="crf")
    assert ranks(with_crf, run("plain", 0.6)) == [(1, "crf"), (2, "plain")]


def test_values_that_read_the_same_share_a_rank() -> None:
    assert ranks(run("b", 0.60004), run("a", 0.59996), run("c", 0.5)) == [(1, "a"), (1, "b"), (3, "c")]


@pytest.mark.parametrize(
    "changes",
    [
        {"smoke": True},
        {"limit": 4},
        {"overrides": ["stages.cam.train_cfg.max_epochs=1"]},
        {"dataset": {"official": False}},
        {"weights": [WeightsRecord(name="resnet50", sha256=None)]},
    ],
)
def test_what_is_no_full_run_has_no_rank_is_never_best_and_stands_beside_no_paper(
    changes: dict[str, Any],
) -> None:
    board = voc(run("vwe", 0.9, **changes), run("irn", 0.1))
    assert [(entry.rank, entry.method) for entry in board.entries] == [(1, "irn"), (None, "vwe")]
    assert board.ranked[0].cells["seg"].best
    assert not board.unranked[0].cells["seg"].best
    assert board.unranked[0].papers == {}


def test_runs_that_differ_in_the_seed_alone_are_one_entry() -> None:
    values = [0.60, 0.62, 0.67]
    entry = only_entry(*(run(seg=value, seed=seed) for seed, value in enumerate(values)))
    cell = entry.cells["seg"]
    assert list(cell.values) == ["vwe-0", "vwe-1", "vwe-2"]
    assert cell.mean == pytest.approx(statistics.fmean(values))
    assert cell.std == pytest.approx(statistics.stdev(values))
    assert cell.interval is None


def test_a_single_run_has_no_deviation() -> None:
    assert only_entry(run(seg=0.6)).cells["seg"].std is None


@pytest.mark.parametrize(
    ("changes", "aspect"),
    [
        ({"config": {"stages": {"cam": {"lr": 1}}}}, "config"),
        ({"dataset": {"fingerprint": "f1"}}, "data"),
        ({"weights": [WeightsRecord(name="resnet50", sha256="w1")]}, "weights"),
        ({"code": {"version": "0", "source_hash": "another"}}, "code"),
    ],
)
def test_runs_that_differ_in_more_are_entries_that_say_in_what(changes: dict[str, Any], aspect: str) -> None:
    entries = voc(run(seg=0.6), run(seg=0.7, seed=1, **changes)).entries
    assert len(entries) == 2
    assert all(len(entry.notes) == 1 and entry.notes[0].startswith(aspect) for entry in entries)
    assert len({entry.id for entry in entries}) == 2


@pytest.mark.parametrize("changes", [{"variant": "vwl_memory"}, {"limit": 4}, {"method": "irn"}])
def test_methods_variants_and_shortened_runs_are_never_averaged(changes: dict[str, Any]) -> None:
    assert len(voc(run(seg=0.6), run(**{"seg": 0.7, "seed": 1} | changes)).entries) == 2


def test_the_same_work_counts_once_however_often_it_was_asked_for() -> None:
    first = run(seg=0.6, seed_miou=0.5)
    again = run(seg=0.6, seed_miou=0.5, started=datetime(2022, 1, 1, tzinfo=UTC), run_id="again")
    partly = again.model_copy(deep=True, update={"run_id": "only"})
    partly.stages[0].report = None
    assert [reference.run_id for reference in only_entry(first, again, partly).runs] == ["again"]
    assert [reference.run_id for reference in only_entry(partly, again, first).runs] == ["again"]


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "timeout", "wrong input"])
def test_only_finished_runs_count(state: str) -> None:
    assert ranks(run("unfinished", 0.9, state=state), run("finished", 0.1)) == [(1, "finished")]


def test_datasets_are_not_compared_with_each_other() -> None:
    board = make_board([run("a", 0.1), run("b", 0.9, dataset={"name": "shapes"})])
    found = {table.dataset: [entry.rank for entry in table.ranked] for table in board.datasets}
    assert found == {"coco": [], "shapes": [1], "voc": [1]}


def test_the_difference_to_the_paper_is_in_points() -> None:
    entry = only_entry(run(seg=0.673))
    assert entry.papers["seg"].number.value == 66.3
    difference = entry.cells["seg"].difference
    assert difference is not None
    assert 100 * difference == pytest.approx(1.0)


def test_a_number_of_another_protocol_stands_beside_ours_without_a_difference() -> None:
    entry = only_entry(record(stage("eval", metric("seg_crf", 0.6)), method="irn"))
    assert entry.papers["seg_crf"].value == pytest.approx(0.635)
    assert entry.cells["seg_crf"].difference is None


def test_a_published_number_that_was_not_computed_here_has_a_column() -> None:
    board = voc(run(seg=0.6))
    assert [column.id for column in board.columns] == ["seg", "seg_crf", "test"]
    assert "test" not in board.ranked[0].cells


def test_another_split_is_another_column() -> None:
    board = voc(
        record(
            stage("a", metric("pseudo", 0.6)),
            stage("b", metric("pseudo", 0.7, split="train_aug")),
            method="other",
        )
    )
    assert [(column.id, column.label) for column in board.columns] == [
        ("pseudo", "pseudo"),
        ("pseudo_train_aug", "pseudo train_aug"),
    ]
    assert score(board.ranked[0])[1] == 60.0


def test_the_final_network_is_that_of_the_training_before_the_segmentation() -> None:
    model = {"type": "DeepLabV2", "backbone": {"type": "StageResNet", "depth": 101}}
    config = {
        "stages": {
            "cam": {"type": "train", "model": {"type": "VWE"}},
            "seg": {"type": "train", "model": model},
            "scores": {"type": "infer"},
            "eval": {"type": "evaluate", "number": "seg"},
        }
    }
    stages = [
        stage("cam", type="train"),
        stage("seg", type="train", inputs={"labels": "cam"}),
        stage("scores", type="infer", inputs={"checkpoint": "seg"}),
        stage("eval", metric("seg", 0.6), inputs={"scores": "scores"}),
    ]
    assert only_entry(record(*stages, config=config)).network == "DeepLabV2, StageResNet-101"


def test_costs_add_up_over_stages_and_average_over_runs_of_the_same_hardware() -> None:
    def on_gpu(seed: int, seconds: float, machine: str) -> RunRecord:
        found = record(
            stage("cam", type="train", seconds=seconds, joules=100.0, memory=1 << 30),
            stage("eval", metric("seg", 0.6), seconds=10.0, memory=3 << 30),
            seed=seed,
            run_id=f"{machine}-{seed}",
        )
        found.hardware.gpus = [Gpu(name=machine, memory_bytes=None)]
        return found

    costs = only_entry(on_gpu(0, 100.0, "fast"), on_gpu(1, 300.0, "fast"), on_gpu(2, 9000.0, "slow")).costs
    assert (costs.hardware, costs.runs, costs.seconds) == ("1 x fast", 2, 210.0)
    assert (costs.gpu_seconds, costs.gpu_energy_joules) == (200.0, 100.0)  # no GPU was seen by eval
    assert costs.host_memory_peak_bytes == 3 << 30


def test_throughput_is_images_over_the_time_they_take() -> None:
    found = record(*(stage(name, type="train") for name in ("cam", "seg")), stage("e", metric("seg", 0.6)))
    for entry, images, speed in zip(found.stages, (100, 300), (10.0, 60.0)):
        assert entry.report is not None
        entry.report.images, entry.report.images_per_second = images, speed
    assert only_entry(found).costs.train_images_per_second == pytest.approx(400 / (10 + 5))


def test_what_was_not_measured_is_none() -> None:
    costs = only_entry(run(seg=0.6)).costs
    assert costs.gpu_seconds is costs.gpu_energy_joules is costs.train_images_per_second is None


def test_the_board_survives_its_json() -> None:
    board = make_board([run(seg=0.6), run(seg=0.7, seed=1), run(seg=0.9, limit=2)])
    assert Board.model_validate(json.loads(board.model_dump_json())) == board
