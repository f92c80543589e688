"""Packages for VOC's evaluation server: what goes in, what is refused, and what validation finds."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.artifact import Artifact
from harness.config import METHODS, find_config, load_config
from harness.data import open_dataset
from harness.data.palette import voc_palette
from harness.errors import InputError
from harness.prediction_source import ArtifactSource
from harness.record import RunRecord, read_records
from harness.submission import FOLDER, encode_mask, encode_masks, is_official, write_package
from harness.submission_check import Problem, check_package
from harness.submission_plan import prediction_chain, require_submittable
from tests.command import Command
from tests.record_samples import metric, record, stage
from tests.tiny_stages import TinyNet
from tests.unit.voc_tree import make_voc, write_list

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[3] / "shared"))
TEST_IDS = ("2008_000006", "2008_000011", "2008_000012")
SIZE = (30, 40)


def mask_of(label: int = 0) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[:10] = label
    return mask


def png(mask: np.ndarray, mode: str = "P", palette: np.ndarray | None = None, **options: Any) -> bytes:
    """A PNG that Pillow writes, not ours."""
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette((voc_palette() if palette is None else palette).tobytes())
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def pack(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def name_of(image_id: str, competition: str = "comp6_test_cls") -> str:
    return f"{FOLDER}/{competition}/{image_id}.png"


def whole() -> dict[str, bytes]:
    """The files of a package without fault."""
    return {name_of(image_id): png(mask_of(label)) for label, image_id in enumerate(TEST_IDS, start=18)}


def problems(package: Path, ids: tuple[str, ...] | None = TEST_IDS) -> set[tuple[str, str]]:
    found = check_package(package, ids, lambda _: SIZE, lambda done, total: None)
    return {(problem.kind, problem.place) for problem in found}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A small VOC with three images of test."""
    root = make_voc(tmp_path / "data")
    write_list(root, "test", TEST_IDS)
    rng = np.random.default_rng(1)
    for image_id in TEST_IDS:
        pixels = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{image_id}.jpg")
    return root


# The package


def test_the_same_masks_make_the_same_bytes(tmp_path: Path) -> None:
    masks = {image_id: encode_mask(mask_of(3)) for image_id in TEST_IDS}
    write_package(tmp_path / "one.tar", masks)
    write_package(tmp_path / "other.tar", dict(reversed(masks.items())))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [name_of(image_id) for image_id in TEST_IDS]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}


def test_masks_are_indexed_with_the_colours_of_the_development_kit() -> None:
    with Image.open(io.BytesIO(encode_mask(mask_of(20)))) as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image), mask_of(20))
        assert image.getpalette("RGB")[:6] == [0, 0, 0, 128, 0, 0]
        assert np.array(image.convert("RGB"))[0, 0].tolist() == [0, 64, 128]  # tvmonitor


def test_the_official_ids_are_recognised_in_any_order() -> None:
    path = SHARED / "data" / "lists" / "voc" / "test.txt"
    if not path.is_file():
        pytest.skip("no lists of the literature beside the checkout (HARNESS_SHARED)")
    ids = path.read_text().split()
    assert len(ids) == 1456
    assert is_official(ids)
    assert is_official(ids[::-1])
    assert not is_official(ids[:-1])
    assert not is_official([*ids[:-1], "2008_999999"])


# Validation


def test_a_package_without_fault_has_no_problem(tmp_path: Path) -> None:
    assert problems(pack(tmp_path / "p.tar", whole())) == set()
    assert problems(pack(tmp_path / "p.tgz", whole(), "w:gz")) == set()
    assert problems(pack(tmp_path / "dots.tar", {f"./{n}": c for n, c in whole().items()})) == set()


def test_colours_that_no_pixel_has_may_be_left_out(tmp_path: Path) -> None:
    name = name_of(TEST_IDS[0])
    files = whole() | {name: png(mask_of(15), palette=voc_palette()[:21])}
    assert problems(pack(tmp_path / "p.tar", files)) == set()
    files[name] = png(mask_of(20), palette=voc_palette()[:20])
    assert problems(pack(tmp_path / "short.tar", files)) == {("has not VOC's colour map", name)}


@pytest.mark.parametrize("below", ["", "results", "results/VOC2012/Segmentation/comp6_test_cls"])
def test_a_folder_is_a_package_from_wherever_it_is_named(tmp_path: Path, below: str) -> None:
    for name, content in whole().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert problems(tmp_path / below) == set()
    (tmp_path / name_of(TEST_IDS[0])).unlink()
    assert problems(tmp_path / below) == {("is missing", TEST_IDS[0])}


def rgb_palette() -> np.ndarray:
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (png(mask_of(21)), "holds labels beyond 20"),
        (png(mask_of(255)), "holds label 255 (undecided), which a prediction must not"),
        (png(np.zeros((40, 30), np.uint8)), "has not its image's size"),
        (png(mask_of(1), palette=rgb_palette()), "has not VOC's colour map"),
        (png(mask_of(1), mode="L"), "is no indexed PNG of 8 bits per pixel"),
        (png(mask_of(1), mode="RGB"), "is no indexed PNG of 8 bits per pixel"),
        (png(mask_of(1), bits=4), "is no indexed PNG of 8 bits per pixel"),
        (png(mask_of(1))[:-30], "is broken"),
        (png(mask_of(1))[:20], "is no indexed PNG of 8 bits per pixel"),
        (b"GIF89a", "is no PNG"),
        (b"", "is no PNG"),
    ],
)
def test_every_fault_of_a_mask_is_found(tmp_path: Path, content: bytes, kind: str) -> None:
    name = name_of(TEST_IDS[1])
    assert problems(pack(tmp_path / "p.tar", whole() | {name: content})) == {(kind, name)}


def test_missing_added_and_misplaced_files_are_found(tmp_path: Path) -> None:
    files = whole()
    moved = files.pop(name_of(TEST_IDS[0]))
    files |= {name_of("2007_000032"): moved, "README": b"hello", "results/a.png": moved}
    belongs = f"is no {name_of('<id>')}"
    assert problems(pack(tmp_path / "p.tar", files)) == {
        ("is missing", TEST_IDS[0]),
        ("is no image of 'test'", "2007_000032"),
        (belongs, "README"),
        (belongs, "results/a.png"),
    }


def test_two_competitions_and_doubled_or_linked_files_are_found(tmp_path: Path) -> None:
    path = pack(tmp_path / "p.tar", whole())
    with tarfile.open(path, "a") as tar:
        for name, kind in (
            (name_of(TEST_IDS[0]), tarfile.REGTYPE),
            (name_of(TEST_IDS[1], "comp5_test_cls"), tarfile.SYMTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    found = problems(path)
    assert ("holds two competitions; hand in one package each", "comp5_test_cls and comp6_test_cls") in found
    assert ("is there more than once", TEST_IDS[0]) in found
    assert ("is no plain file of at most 8 MiB", name_of(TEST_IDS[1], "comp5_test_cls")) in found


def test_without_a_dataset_the_ids_are_known_by_their_hash(tmp_path: Path) -> None:
    (found,) = check_package(pack(tmp_path / "p.tar", whole()), None, None, lambda done, total: None)
    assert found == Problem("are not VOC 2012's 1456 ids of 'test'; --data-root tells which", "the 3 ids")


@pytest.mark.parametrize("content", [b"", b"no archive" * 100, b"PK\x03\x04" + bytes(600)])
def test_what_is_no_archive_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.tar").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a tar archive"):
        problems(tmp_path / "p.tar")


# From a run to predictions


def test_the_chain_of_a_method_predicts_test_from_its_last_network() -> None:
    config = load_config(find_config("vwe", "voc", root=METHODS))
    chain = prediction_chain(config, None, "run")
    assert (chain.number, chain.last, chain.trainings) == ("seg_crf", "seg_crf", ("seg",))
    assert {name for name, s in chain.config.stages.items() if s.split == "test"} == {"seg_scores", "seg_crf"}
    assert chain.config.stages["seg"] == config.stages["seg"]
    assert not any(s.type == "evaluate" for s in chain.config.stages.values())
    assert prediction_chain(config, "seg", "run").last == "seg_scores"


def test_a_method_without_segmentation_has_nothing_to_pack() -> None:
    with pytest.raises(InputError, match="run cam has no number seg_crf or seg"):
        prediction_chain(load_config(find_config("cam", "voc", root=METHODS)), None, "cam")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset": {"name": "coco"}}, "is on 'coco', but only VOC 2012's 'test' has a server"),
        ({"state": "failed"}, "is failed: finish it"),
        ({"limit": 8}, r"is a shortened one \(limit 8\)"),
        ({"smoke": True}, r"is a shortened one \(smoke\)"),
    ],
)
def test_runs_that_the_server_has_no_place_for_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        require_submittable(record(stage("seg"), **changes), False, pytest.fail)


def test_other_marks_are_said() -> None:
    said: list[str] = []
    require_submittable(record(stage("seg"), overrides=["a=1"]), False, said.append)
    require_submittable(record(stage("seg"), limit=8), True, said.append)
    assert [line.rpartition(": ")[2] for line in said] == ["overrides", "limit 8"]


def finished_run(work: Path) -> RunRecord:
    """A run whose network was never trained, but is there."""
    model = {"type": "TinyNet", "num_classes": 21}
    torch.manual_seed(0)
    checkpoint = Artifact(work / "artifacts" / "k0").open()
    torch.save(TinyNet(num_classes=21).state_dict(), checkpoint.files / "model.pth")
    checkpoint.finish("checkpoint", "seg", "k0", {"model": model})
    stages: dict[str, Any] = {
        "seg": {
            "type": "train",
            "split": "train",
            "labels": "mask",
            "model": model,
            "transform": {"type": "WholeImage"},
            "train_dataloader": {"batch_size": 2},
            "optim_wrapper": {},
            "param_scheduler": {},
            "train_cfg": {"max_iters": 1},
        },
        "seg_scores": {
            "type": "infer",
            "split": "val",
            "checkpoint": "seg",
            "inference": {"type": "SegmentationLogits", "transform": {"type": "WholeImage"}},
        },
        "seg_crf": {
            "type": "refine",
            "split": "val",
            "scores": "seg_scores",
            "refiner": {"type": "DenseCRF"},
        },
        "eval": {"type": "evaluate", "split": "val", "scores": "seg_scores", "number": "seg"},
        "crf_eval": {"type": "evaluate", "split": "val", "masks": "seg_crf", "number": "seg_crf"},
    }
    config = {
        "dataset": {"name": "voc", "num_classes": 20},
        "custom_imports": ["tests.tiny_stages", "harness.data.transforms"],
        "stages": stages,
    }
    made = record(
        stage("seg", type="train", key="k0"), stage("eval", metric("seg", 0.5)), config=config, method="cam"
    )
    (work / "runs" / made.run_id).mkdir(parents=True)
    made.write(work / "runs" / made.run_id)
    return made


def test_a_run_becomes_a_valid_package_and_its_predictions_are_reused(
    command: Command, voc: Path, tmp_path: Path
) -> None:
    work, out = tmp_path / "work", tmp_path / "package.tar"
    made = finished_run(work)
    arguments = ("submit", made.run_id, "--work-dir", work, "--data-root", voc, "--executor", "local")
    refused = command(*arguments, "--out", out)
    assert refused.status == 2
    assert "is not the official one of 1456 images" in refused.sentence
    first = command(*arguments, "--out", out, "--trial")
    assert first.status == 0, first
    assert hashlib.sha256(out.read_bytes()).hexdigest() in first.output
    assert problems(out) == set()
    latest = read_records(work, pytest.fail)[-1]
    assert {s.name: s.state for s in latest.stages} == {
        "seg": "imported",
        "seg_scores": "done",
        "seg_crf": "done",
    }
    content = out.read_bytes()
    out.unlink()
    again = command(*arguments, "--out", out, "--trial")
    assert again.status == 0
    assert {s.state for s in read_records(work, pytest.fail)[-1].stages} == {"imported", "reused"}
    assert out.read_bytes() == content
    valid = command("submit", "--validate", out, "--data-root", voc, "--trial")
    assert (valid.status, valid.errors) == (0, "")
    bad = pack(tmp_path / "bad.tar", whole() | {name_of(TEST_IDS[0]): png(mask_of(255))})
    invalid = command("submit", "--validate", bad, "--data-root", voc, "--trial")
    assert invalid.status == 1
    assert "holds label 255" in invalid.output


def artifact_of(folder: Path, kind: Any, meta: dict[str, Any], files: Mapping[str, bytes]) -> ArtifactSource:
    artifact = Artifact(folder).open()
    for name, content in files.items():
        (artifact.files / name).write_bytes(content)
    artifact.finish(kind, "seg", "k", meta)
    return ArtifactSource(artifact)


def labels_in(encoded: Mapping[str, bytes], image_id: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(encoded[image_id])))


def test_logits_are_packed_as_the_classes_that_win_at_the_image_s_size(voc: Path, tmp_path: Path) -> None:
    logits = np.zeros((21, 1, 2), np.float32)
    logits[7, 0, 0] = logits[9, 0, 1] = 1.0
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits, size=np.array(SIZE))
    files = {f"{image_id}.npz": buffer.getvalue() for image_id in TEST_IDS}
    source = artifact_of(tmp_path / "a", "scores", {"scores": "logits"}, files)
    encoded = encode_masks(source, open_dataset("voc", voc), TEST_IDS, 1, lambda done, total: None)
    expected = np.where(np.arange(SIZE[1]) < SIZE[1] // 2, 7, 9)
    assert all(np.array_equal(row, expected) for row in labels_in(encoded, TEST_IDS[2]))


def test_undecided_pixels_are_packed_as_background(voc: Path, tmp_path: Path) -> None:
    mask = mask_of(4)
    mask[20:] = 255
    source = artifact_of(tmp_path / "a", "masks", {}, {f"{image_id}.png": png(mask) for image_id in TEST_IDS})
    encoded = encode_masks(source, open_dataset("voc", voc), TEST_IDS, 1, lambda done, total: None)
    assert np.array_equal(labels_in(encoded, TEST_IDS[0]), mask_of(4))


def test_predictions_that_do_not_fit_are_one_sentence(voc: Path, tmp_path: Path) -> None:
    files = {f"{image_id}.png": png(mask_of(4)) for image_id in TEST_IDS}
    dataset = open_dataset("voc", voc)
    fewer = artifact_of(tmp_path / "fewer", "masks", {}, dict(list(files.items())[1:]))
    with pytest.raises(InputError, match=f"no prediction for 1 of 3 images .the first is {TEST_IDS[0]}"):
        encode_masks(fewer, dataset, TEST_IDS, 1, lambda done, total: None)
    small = png(np.zeros((5, 5), np.uint8))
    other = artifact_of(tmp_path / "other", "masks", {}, files | {f"{TEST_IDS[1]}.png": small})
    with pytest.raises(InputError, match=f"{TEST_IDS[1]} is 5 x 5 pixels but its image is 40 x 30"):
        encode_masks(other, dataset, TEST_IDS, 1, lambda done, total: None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit",), "name a run, --data-root and --out, or a package with --validate"),
        (("submit", "run", "--validate", "x.tar"), "--validate takes a package that is there"),
        (("submit", "run", "--data-root", ".", "--out", "x.zip"), "choose a name that ends in .tar"),
        (("submit", "--validate", "nowhere.tar"), "there is no package nowhere.tar"),
    ],
)
def test_wrong_usage_is_one_sentence(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    outcome = command(*arguments, cwd=tmp_path)
    assert outcome.status == 2
    assert sentence in outcome.sentence


def test_a_lost_checkpoint_is_one_sentence(command: Command, voc: Path, tmp_path: Path) -> None:
    made = finished_run(tmp_path)
    Artifact(tmp_path / "artifacts" / "k0").discard()
    outcome = command(
        *("submit", made.run_id, "--work-dir", tmp_path, "--data-root", voc),
        *("--out", tmp_path / "x.tar", "--trial"),
    )
    assert outcome.status == 2
    assert "the checkpoint of stage 'seg' of run" in outcome.errors
