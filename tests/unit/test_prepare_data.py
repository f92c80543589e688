"""Preparing VOC from small archives in the official layout: whole, broken, killed and twice at once."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from harness.cli import app
from harness.config import find_config, load_config, parse_override
from harness.data import open_dataset
from harness.data.archive import extract
from harness.data.official_archives import official_archives
from harness.data.palette import read_mask
from harness.data.prepare import prepare_dataset, require_space
from harness.data.recipe import NOTES, Prepared
from harness.data.shapes import MARKER, generate_shapes
from harness.data.voc import read_id_list
from harness.errors import InputError
from harness.show_data import next_steps
from tests.unit.file_server import FileServer, serve
from tests.unit.voc_archives import (
    Archives,
    Lists,
    make_archives,
    sbd_mask,
    small_lists,
    voc_mask,
    write_registry,
    write_tar,
)
from tests.waiting import PATIENCE

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[3] / "shared"))
LISTS = small_lists()
FORK = multiprocessing.get_context("fork")


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.units: set[str] = set()

    def say(self, text: str) -> None:
        self.lines.append(text)

    def plan(self, names: Sequence[str]) -> None:
        self.lines.append(f"plan: {', '.join(names)}")

    def begin(self, name: str, what: str) -> None:
        self.lines.append(f"{name}: {what}")

    def progress(self, done: int, total: int, unit: str) -> None:
        assert 0 <= done <= total
        self.units.add(unit)

    def end(self, outcome: str) -> None:
        self.lines.append(outcome)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    return make_archives(tmp_path_factory.mktemp("archives"), LISTS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def prepare(
    root: Path,
    archives: Archives,
    given: Sequence[Path] | None = None,
    told: Told | None = None,
    workers: int = 1,
) -> Prepared:
    return prepare_dataset(
        "voc",
        root,
        archives.all if given is None else given,
        told or Told(),
        registry=archives.registry,
        workers=workers,
    )


def tree(root: Path) -> dict[str, str]:
    """Hash of every file below a folder; the lock is no part of the data."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(scope="module")
def undisturbed(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(root / "cache"))
        prepare(root / "data", archives)
    return tree(root / "data")


def test_lists_masks_and_labels_are_derived(tmp_path: Path, archives: Archives) -> None:
    told = Told()
    prepared = prepare(tmp_path, archives, told=told, workers=2)
    voc = open_dataset("voc", tmp_path, tmp_path / "cache")
    assert voc.ids("train_aug") == tuple(
        sorted(({*LISTS.sbd_train, *LISTS.sbd_val} | {*LISTS.train}) - {*LISTS.val})
    )
    voc.check(["train", "val", "train_aug", "test"], masks_for=["train", "val", "train_aug"])
    aug = voc.root / "SegmentationClassAug"
    assert {path.stem for path in aug.iterdir()} == {*voc.ids("train_aug"), *LISTS.val}
    for path in aug.iterdir():
        own = path.stem in LISTS.train + LISTS.val
        assert (read_mask(path) == (voc_mask if own else sbd_mask)(path.stem)).all()
    assert {(row.split, row.images, row.masks) for row in prepared.rows} == {
        ("train", 4, 4), ("val", 4, 4), ("trainval", 8, 8), ("train_aug", 8, 8), ("test", 2, 0),
    }  # fmt: skip
    assert not any(row.official for row in prepared.rows)
    assert prepared.left_out == []
    assert {"MB", "masks"} <= told.units


def test_only_what_the_layout_needs_is_unpacked(tmp_path: Path, archives: Archives) -> None:
    folder = prepare(tmp_path, archives).folder
    assert {path.name for path in folder.iterdir()} == {
        "Annotations", "ImageLabels", "ImageSets", "JPEGImages", "SegmentationClass", "SegmentationClassAug",
        NOTES,
    }  # fmt: skip
    assert {path.stem for path in (folder / "JPEGImages").iterdir()} == {*LISTS.images, *LISTS.test}
    assert not (folder / "ImageSets" / "Main").exists()


def test_labels_from_masks_differ_from_those_of_annotations_and_open_no_mask(
    tmp_path: Path, archives: Archives
) -> None:
    prepare(tmp_path, archives)
    image_id = LISTS.sbd_train[-1]
    by_object = open_dataset("voc", tmp_path, tmp_path / "a")
    by_mask = open_dataset("voc", tmp_path, tmp_path / "b", labels="masks")
    assert by_object.fingerprint(["train_aug"]) != by_mask.fingerprint(["train_aug"])
    for folder in ("SegmentationClass", "SegmentationClassAug"):
        shutil.rmtree(by_mask.root / folder)
    assert np.flatnonzero(by_object.image_labels(image_id)).tolist() == [7]
    assert np.flatnonzero(by_mask.image_labels(image_id)).tolist() == [int(image_id[-2:]) % 20]
    by_mask.check(["train_aug"])


def test_a_config_says_which_labels_a_method_uses() -> None:
    path = find_config("cam", "voc", None)
    assert load_config(path, []).dataset.labels == "annotations"
    assert load_config(path, [parse_override('dataset.labels="masks"')]).dataset.labels == "masks"
    with pytest.raises(InputError, match=r"dataset\.labels.*'annotations' or 'masks'"):
        load_config(path, [parse_override('dataset.labels="mask"')])


def test_missing_or_broken_labels_of_masks_are_named(tmp_path: Path, archives: Archives) -> None:
    prepare(tmp_path, archives)
    path = tmp_path / "VOCdevkit" / "VOC2012" / "ImageLabels" / "masks.txt"
    whole = path.read_text()

    def sentence() -> str:
        with pytest.raises(InputError) as error:
            open_dataset("voc", tmp_path, labels="masks").check(["train_aug"])
        return str(error.value)

    path.write_text("\n".join(whole.splitlines()[1:]))
    assert f"{LISTS.train[0]} has no line in {path}" in sentence()
    path.write_text(f"{whole}2007_000099 21\n")
    assert f"line 13 of {path} is no image with labels from 1 to 20" in sentence()
    path.write_text(whole + whole)
    assert f"{path} names image {LISTS.train[0]} twice" in sentence()
    path.unlink()
    assert f"there is no {path}" in sentence()
    assert "harness data prepare" in sentence()


def test_done_work_needs_no_archive_and_is_not_done_again(tmp_path: Path, archives: Archives) -> None:
    folder = prepare(tmp_path, archives).folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    told = Told()
    prepare(tmp_path, archives, given=[], told=told)
    assert told.lines == [f"{folder} is complete: nothing to do"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("below", ["VOCdevkit", "VOCdevkit/VOC2012"])
def test_root_may_be_the_dataset_itself(tmp_path: Path, archives: Archives, below: str) -> None:
    assert prepare(tmp_path / below, archives).folder == tmp_path / "VOCdevkit" / "VOC2012"
    told = Told()
    prepare(tmp_path, archives, given=[], told=told)
    assert told.lines[-1].endswith("nothing to do")


@pytest.mark.parametrize(
    "name",
    [
        f"JPEGImages/{LISTS.train[0]}.jpg",
        f"SegmentationClassAug/{LISTS.sbd_val[0]}.png",
        f"SegmentationClassAug/{LISTS.train[0]}.png",
        "ImageSets/Segmentation/train_aug.txt",
        "ImageLabels/masks.txt",
        ".prepared/train_aug.json",
    ],
)
@pytest.mark.parametrize("harm", ["removed", "cut short"])
def test_what_was_lost_is_made_again(
    tmp_path: Path, archives: Archives, undisturbed: dict[str, str], name: str, harm: str
) -> None:
    path = prepare(tmp_path / "data", archives).folder / name
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:7])
    if name.startswith(".prepared"):  # then nobody knows whose the masks are
        with pytest.raises(InputError, match="train_aug of which list or masks are not the official"):
            prepare(tmp_path / "data", archives)
        return
    prepare(tmp_path / "data", archives)
    assert tree(tmp_path / "data") == undisturbed


def test_test_images_are_left_out_until_their_archive_is_there(tmp_path: Path, archives: Archives) -> None:
    prepared = prepare(tmp_path, archives, given=[archives.trainval, archives.sbd])
    assert prepared.left_out == [
        "images of VOC's test split were left out: ask the server and pass the file with --archive"
    ]
    assert "test" not in {row.split for row in prepared.rows}
    told = Told()
    assert "test" in {row.split for row in prepare(tmp_path, archives, [archives.test], told).rows}
    assert told.lines[0] == "plan: VOC2012test.tar, test"


def test_archives_are_recognised_by_content_whatever_their_name(tmp_path: Path, archives: Archives) -> None:
    given = [shutil.copy(path, tmp_path / f"{i}.bin") for i, path in enumerate(archives.all)]
    assert len(prepare(tmp_path / "data", archives, given).rows) == 5


def sentence_of(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_connection_the_sentence_says_what_to_fetch(
    tmp_path: Path, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    assert sentence_of(lambda: prepare(tmp_path, archives, given=[archives.trainval])) == (
        "cannot download benchmark.tgz from 127.0.0.1: the host cannot be reached; fetch "
        "http://127.0.0.1:9/benchmark.tgz elsewhere and pass the file with --archive"
    )


def test_downloads_are_resumed_kept_and_told(tmp_path: Path, archives: Archives, cache: Path) -> None:
    content = archives.sbd.read_bytes()
    with serve(FileServer(content, cuts=[len(content) // 2])) as server:
        registry = write_registry(
            tmp_path / "registry.yaml", archives.trainval, archives.test, archives.sbd, server.url
        )
        told = Told()
        given = [archives.trainval, archives.test]
        prepared = prepare_dataset("voc", tmp_path / "data", given, told, registry=registry, workers=1)
        assert len(server.requests) == 2
    kept = cache / "data" / "archives" / "benchmark.tgz"
    assert prepared.archives == [kept]
    assert kept.read_bytes() == content
    assert f"{kept} (its checksum is right)" in told.lines
    assert "not needed any more" in next_steps(prepared, "voc")[0]


def test_wrong_archives_are_one_sentence_each(tmp_path: Path, archives: Archives) -> None:
    other = write_tar(tmp_path / "other.tar", [("a", b"b")])
    assert "other.tar is none of the archives that are needed (benchmark.tgz, " in sentence_of(
        lambda: prepare(tmp_path / "data", archives, [other])
    )
    assert "there is no file" in sentence_of(
        lambda: prepare(tmp_path / "data", archives, [tmp_path / "no.tar"])
    )
    page = tmp_path / "page.tar"
    page.write_text("<html>")
    assert "page.tar cannot be read" in sentence_of(lambda: prepare(tmp_path / "data", archives, [page]))
    damaged = bytearray(archives.sbd.read_bytes())
    damaged[100] ^= 1
    (tmp_path / "benchmark.tgz").write_bytes(damaged)
    sentence = sentence_of(
        lambda: prepare(tmp_path / "data", archives, [archives.trainval, tmp_path / "benchmark.tgz"])
    )
    assert "benchmark.tgz is damaged or not the official benchmark.tgz: its MD5 is" in sentence
    (tmp_path / "benchmark.tgz").write_bytes(damaged[:-100])
    sentence = sentence_of(
        lambda: prepare(tmp_path / "data", archives, [archives.trainval, tmp_path / "benchmark.tgz"])
    )
    assert "cut short" in sentence
    assert not (
        tmp_path / "data/VOCdevkit/VOC2012/JPEGImages"
    ).exists()  # nothing is unpacked before all is there


def test_test_archive_has_no_checksum_but_must_be_whole(tmp_path: Path, archives: Archives) -> None:
    listed = ("VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt", b"2008_000006\n2008_000011\n")
    (tmp_path / "a").mkdir()
    path = write_tar(
        tmp_path / "a" / "VOC2012test.tar", [("VOCdevkit/VOC2012/JPEGImages/2008_000006.jpg", b"")]
    )
    given = [archives.trainval, archives.sbd, path]
    assert "VOC2012test.tar is not VOC2012test.tar, for it has no" in sentence_of(
        lambda: prepare(tmp_path / "data", archives, given)
    )
    write_tar(path, [listed, ("VOCdevkit/VOC2012/JPEGImages/2008_000006.jpg", b"")])
    assert "lacks 1 images of its own test list, such as 2008_000011" in sentence_of(
        lambda: prepare(tmp_path / "data", archives, given)
    )


def test_full_disk_is_known_before_anything_is_written(
    tmp_path: Path, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    sentence = sentence_of(lambda: prepare(tmp_path / "data", archives))
    assert "GB more are needed on the disk of " in sentence
    assert "free some space, or choose another --root" in sentence
    assert list((tmp_path / "data/VOCdevkit/VOC2012").iterdir()) == [
        tmp_path / "data/VOCdevkit/VOC2012" / NOTES
    ]


def test_space_is_added_up_per_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    require_space({tmp_path / "a" / "b": 1_400_000_000, tmp_path: 1_500_000_000})
    with pytest.raises(InputError, match=r"about 3\.5 GB more are needed on .*, which has 3\.0 GB free"):
        require_space({tmp_path / "a" / "b": 2_000_000_000, tmp_path: 1_500_000_000})


def test_another_dataset_in_the_layout_of_voc_is_left_alone(tmp_path: Path, archives: Archives) -> None:
    from tests.unit.voc_tree import make_voc

    root = make_voc(tmp_path)
    before = tree(root)
    assert "holds another dataset in VOC's layout, since its train.txt is not VOC's" in sentence_of(
        lambda: prepare(tmp_path, archives)
    )
    assert tree(root) == before


def test_masks_of_unknown_origin_are_left_alone(tmp_path: Path, archives: Archives) -> None:
    masks = tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
    masks.mkdir(parents=True)
    (masks / "2007_000000.png").write_bytes(b"mine")
    sentence = sentence_of(lambda: prepare(tmp_path / "VOCdevkit" / "VOC2012", archives))
    assert "are not the official ones: move SegmentationClassAug" in sentence
    assert (masks / "2007_000000.png").read_bytes() == b"mine"


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, archives: Archives) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "choose another --root" in sentence_of(lambda: prepare(tmp_path / "file", archives))


def kill_at(number: int, archives: Archives, root: Path) -> None:
    """Prepare, and kill this process where it would give a file its name for the n-th time."""
    replace = Path.replace
    count = 0

    def counted(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = counted  # type: ignore[method-assign]
    prepare(root, archives)
    os._exit(0)


def run(target: Callable[..., object], *arguments: object) -> int | None:
    process = FORK.Process(target=target, args=arguments)
    process.start()
    process.join(PATIENCE)
    return process.exitcode


def test_killed_at_any_moment_and_run_again_ends_in_the_same_bytes(
    tmp_path: Path, archives: Archives, undisturbed: dict[str, str]
) -> None:
    last, kills = len(undisturbed) + 8, 0
    for number in range(1, last, 3):
        root = tmp_path / f"{number}"
        status = run(kill_at, number, archives, root)
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
        prepare(root, archives)
        assert tree(root) == undisturbed
        shutil.rmtree(root)
    assert kills > 15


def test_killed_again_and_again_it_still_comes_to_its_end(
    tmp_path: Path, archives: Archives, undisturbed: dict[str, str]
) -> None:
    for _ in range(40):
        if run(kill_at, 9, archives, tmp_path / "data") == 0:
            break
    else:
        pytest.fail("it does not get on")
    assert tree(tmp_path / "data") == undisturbed


def test_workers_do_not_outlive_a_killed_preparation(
    tmp_path: Path, archives: Archives, undisturbed: dict[str, str]
) -> None:
    def kill_parent(root: Path) -> None:
        parent = os.getpid()

        def write(*_: object) -> None:
            os.kill(parent, signal.SIGKILL)
            signal.pause()  # until the kernel ends this worker too

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.data.sbd.write_mask", write)
            prepare(root, archives, workers=2)

    assert run(kill_parent, tmp_path / "data") == -signal.SIGKILL
    prepare(tmp_path / "data", archives, workers=2)  # it waits for the lock, which workers hold as well
    assert tree(tmp_path / "data") == undisturbed


def test_two_at_once_end_in_the_same_bytes(
    tmp_path: Path, archives: Archives, undisturbed: dict[str, str]
) -> None:
    gate = FORK.Barrier(2)

    def both() -> None:
        gate.wait()
        prepare(tmp_path / "data", archives)

    pair = [FORK.Process(target=both) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(PATIENCE)
    assert [process.exitcode for process in pair] == [0, 0]
    assert tree(tmp_path / "data") == undisturbed


def test_the_second_says_that_it_waits(tmp_path: Path, archives: Archives) -> None:
    folder = prepare(tmp_path, archives).folder
    lock = FileLock(folder / NOTES / "lock")
    lock.acquire()

    class Releasing(Told):
        def say(self, text: str) -> None:
            super().say(text)
            lock.release()

    told = Releasing()
    prepare(tmp_path, archives, given=[], told=told)
    assert told.lines[0] == f"another process is preparing {folder}: waiting for it"


def kill_shapes_at(number: int, root: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done >= number:
            os.kill(os.getpid(), signal.SIGKILL)

    generate_shapes(root, train=40, train_aug=90, val=10, workers=2, progress=progress)


def test_killed_shapes_go_on_where_they_were(tmp_path: Path) -> None:
    spec = dict(train=40, train_aug=90, val=10, workers=2)
    generate_shapes(tmp_path / "whole", **spec)
    for number in (1, 40):
        assert run(kill_shapes_at, number, tmp_path / "data") == -signal.SIGKILL
        assert not (tmp_path / "data" / MARKER).exists()
    seen: list[int] = []
    generate_shapes(tmp_path / "data", **spec, progress=lambda done, total: seen.append(done))
    assert seen[0] > 40
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


def test_registry_is_whole() -> None:
    voc, coco = official_archives("voc"), official_archives("coco")
    assert set(voc) == {"voc-trainval", "voc-test", "sbd"}
    assert len(coco) == 3
    for archive in (*voc.values(), *coco.values()):
        assert archive.url or archive.obtain
        assert archive.checksum or archive.bytes is None  # a size alone would be taken for a proof


def test_command_says_what_is_there_and_what_to_type_next(tmp_path: Path) -> None:
    root = tmp_path / "shapes"
    arguments = ["data", "prepare", "shapes", "--root", str(root), "--images", "16", "--seed", "7"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "train_aug" in done.output
    assert f"next: harness data verify shapes --root {root}" in done.output
    shapes = open_dataset("shapes", root)
    assert [len(shapes.ids(split)) for split in ("train", "train_aug", "val")] == [4, 16, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["shape"], "did you mean 'shapes'"),
        (["voc", "--images", "40"], "--images and --seed are for shapes"),
        (["shapes", "--archive", "x"], "leave out --archive"),
        (["voc", "--archive", "x.tar"], "there is no file x.tar"),
    ],
)
def test_wrong_arguments_are_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    failed = CliRunner().invoke(app, ["data", "prepare", *arguments, "--root", str(tmp_path / "data")])
    assert isinstance(failed.exception, InputError)
    assert sentence in str(failed.exception)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data" / "lists").is_dir(), reason="the literature's id lists are not here")
def test_lists_are_those_of_the_literature(tmp_path: Path) -> None:
    official = {
        split: tuple(read_id_list(SHARED / "data" / "lists" / "voc" / f"{split}.txt", split))
        for split in ("train", "val", "test", "train_aug")
    }
    # SBD's own lists hold these images, of which some belong to VOC's train and some to its val.
    sbd = sorted({*official["train_aug"]} - {*official["train"][::2]} | {*official["val"][::2]})
    lists = Lists(official["train"], official["val"], official["test"], tuple(sbd[::4]), tuple(sbd))
    archives = make_archives(tmp_path, lists)
    prepared = prepare(tmp_path / "data", archives, workers=2)
    assert all(row.official for row in prepared.rows)
    voc = open_dataset("voc", tmp_path / "data")
    for split, ids in official.items():
        assert voc.ids(split) == ids  # in the same order, too
    assert len(list((voc.root / "SegmentationClassAug").iterdir())) == 12_031
    assert len(voc.mask_labels_path.read_text().splitlines()) == 12_031
    # What somebody has unpacked before is taken as it is, if it is the official data.
    shutil.rmtree(voc.root / NOTES)
    assert "are not the official ones: move SegmentationClassAug" in sentence_of(
        lambda: prepare(tmp_path / "data", archives, given=[])
    )


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data" / "voc2012-labels.tar").is_file(), reason="the masks are not here")
def test_masks_that_somebody_has_unpacked_are_taken_if_they_are_the_official_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = SHARED / "data" / "lists" / "voc"
    train, val, test, train_aug = (
        tuple(read_id_list(lists / f"{split}.txt", split)) for split in ("train", "val", "test", "train_aug")
    )
    archives = make_archives(tmp_path, Lists(train, val, test, train_aug[:20], ()))
    folder = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    shutil.copy(lists / "train_aug.txt", folder / "ImageSets" / "Segmentation")
    extract(SHARED / "data" / "voc2012-labels.tar", lambda name: name, folder)
    told = Told()
    prepared = prepare(tmp_path / "data", archives, given=[archives.trainval], told=told, workers=2)
    assert f"train_aug of VOC and SBD: taken as they are in {folder}" in told.lines
    assert [row.split for row in prepared.rows if row.official] == ["train", "val", "trainval", "train_aug"]
    labels = [line.split()[1:] for line in (folder / "ImageLabels" / "masks.txt").read_text().splitlines()]
    assert all(labels)
    assert sum(map(len, labels[:10_582])) == 15_555
