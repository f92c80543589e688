"""The registry of weights, its cache, and checkpoints from untrusted places."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.conversion import Conversion
from harness.errors import InputError
from harness.weights import Weights, content_sha256, convert_file, load_state
from tests.unit.file_server import FileServer, serve

REGISTRY = Path(__file__).resolve().parents[2] / "methods" / "weights.yaml"
CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(CONTENT)) as file:
        yield file


def registry(tmp_path: Path, **fields: object) -> Weights:
    lines = {"licence": "BSD", "origin": "somebody", "layout": "resnet", **fields}
    path = tmp_path / "weights.yaml"
    path.write_text("net:\n" + "".join(f"  {name}: '{value}'\n" for name, value in lines.items()))
    return Weights.load(path)


def test_shipped_registry_names_what_the_methods_start_from() -> None:
    weights = Weights.load(REGISTRY)
    resnet50 = weights.entry("resnet50-imagenet1k-v1")
    assert resnet50.filename == "resnet50-19c8e357.pth"
    assert resnet50.checksum == "19c8e357"
    assert all(entry.licence and entry.origin for entry in weights.entries.values())


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet50-imagenet1k-v1'"):
        Weights.load(REGISTRY).resolve("resnet50-imagenet1k-v2")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "needs file and obtain"),
        ({"url": "https://example.org/x.pth"}, "needs sha256 or sha256_prefix"),
        ({"url": "https://example.org/x.pth", "sha256_prefix": "xyz"}, "sha256_prefix"),
        ({"url": "ftp://example.org/x.pth", "sha256_prefix": "deadbeef"}, "url"),
        ({"file": "../x.pth", "obtain": "ask"}, "plain name"),
        ({"file": "x.pth", "obtain": "ask", "md5": "0"}, "md5"),
    ],
)
def test_wrong_entry_is_named(tmp_path: Path, fields: Mapping[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=f"weights.yaml is wrong at net.*{complaint}"):
        registry(tmp_path, **fields)


def test_weights_are_downloaded_once_and_identified_by_content(server: FileServer, tmp_path: Path) -> None:
    weights = registry(tmp_path, url=server.url, sha256_prefix=SHA256[:8])
    cache = tmp_path / "cache"
    assert weights.cached("net", cache=cache) is None
    first = weights.resolve("net", cache=cache)
    assert first is not None
    assert (first.path.read_bytes(), first.sha256, first.layout) == (CONTENT, SHA256, "resnet")
    assert weights.resolve("net", cache=cache) == first
    assert len(server.requests) == 1


def test_damaged_file_in_the_cache_is_not_used(server: FileServer, tmp_path: Path) -> None:
    weights = registry(tmp_path, url=server.url, sha256_prefix=SHA256[:8])
    (tmp_path / "weights.pth").write_bytes(CONTENT[:-1])
    assert weights.cached("net", cache=tmp_path) is None
    found = weights.resolve("net", cache=tmp_path)
    assert found is not None
    assert found.sha256 == SHA256


def test_cache_folder_comes_from_the_environment(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine"))
    found = registry(tmp_path, url=server.url, sha256=SHA256).fetch("net")
    assert found.path == tmp_path / "mine" / "weights" / "weights.pth"


def test_none_starts_from_random_numbers_without_a_download(tmp_path: Path) -> None:
    weights = registry(tmp_path, url="http://127.0.0.1:9/x.pth", sha256_prefix="deadbeef")
    assert weights.resolve("net", "none", cache=tmp_path) is None


def test_local_file_takes_the_place_of_the_download(tmp_path: Path) -> None:
    weights = registry(tmp_path, url="http://127.0.0.1:9/x.pth", sha256_prefix="deadbeef")
    mine = tmp_path / "mine.pth"
    mine.write_bytes(CONTENT)
    found = weights.resolve("net", mine, cache=tmp_path / "cache")
    assert found is not None
    assert (found.path, found.sha256, found.source) == (mine, SHA256, "local file")
    with pytest.raises(InputError, match=r"is not there: .*other\.pth"):
        weights.resolve("net", tmp_path / "other.pth", cache=tmp_path)


def test_offline_says_what_where_and_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    weights = registry(tmp_path, url="http://127.0.0.1:9/x.pth", sha256_prefix="deadbeef")
    with pytest.raises(InputError) as caught:
        weights.resolve("net", cache=tmp_path)
    assert str(caught.value) == (
        "cannot download weights 'net' from 127.0.0.1: the host cannot be reached; put the file at "
        f"{tmp_path}/x.pth, name another one with --weights net=FILE, or use --weights none"
    )


def test_entry_without_address_says_how_to_get_it_by_hand(tmp_path: Path) -> None:
    weights = registry(tmp_path, file="x.pth", obtain="ask the authors")
    with pytest.raises(InputError, match=r"ask the authors; then put the file at .*x\.pth"):
        weights.resolve("net", cache=tmp_path)
    (tmp_path / "x.pth").write_bytes(CONTENT)
    found = weights.resolve("net", cache=tmp_path)
    assert found is not None
    assert found.sha256 == SHA256


def test_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.pth"
    file.write_bytes(CONTENT)
    assert content_sha256(file, tmp_path) == SHA256
    with monkeypatch.context() as patch:
        patch.setattr("harness.weights.file_sha256", lambda _: pytest.fail("read the file again"))
        assert content_sha256(file, tmp_path) == SHA256
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(1, 1))
    assert content_sha256(file, tmp_path) == hashlib.sha256(CONTENT[::-1]).hexdigest()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_state_is_unwrapped_and_keeps_its_names(tmp_path: Path, wrapper: str | None) -> None:
    state = {"module.conv.weight": torch.arange(4.0), "module.step": torch.tensor(3)}
    torch.save({wrapper: state, "epoch": 7} if wrapper else state, tmp_path / "x.pth")
    loaded = load_state(tmp_path / "x.pth")
    assert list(loaded) == list(state)
    assert torch.equal(loaded["module.conv.weight"], state["module.conv.weight"])


class _RunsCode:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.victim}'",)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    payload = {"state_dict": {"w": torch.zeros(1)}, "extra": _RunsCode(tmp_path / "victim")}
    torch.save(payload, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"holds code or objects \(posix\.system\)"):
        load_state(tmp_path / "x.pth")
    assert not (tmp_path / "victim").exists()


def test_checkpoint_with_foreign_objects_names_their_class(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"argparse\.Namespace"):
        load_state(tmp_path / "x.pth")


def test_unreadable_checkpoints_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for content in (b"", b"<!doctype html>", b"PK\x03\x04" + b"0" * 99, whole[: len(whole) // 2]):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.pth is not a PyTorch checkpoint"):
            load_state(tmp_path / "x.pth")
    with pytest.raises(InputError, match="No such file"):
        load_state(tmp_path / "absent.pth")


@pytest.mark.parametrize("content", [torch.zeros(2), {}, {"w": torch.zeros(1), "epoch": 3}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"no state dict|not tensors \(epoch\)"):
        load_state(tmp_path / "x.pth")


def rename(state: Mapping[str, Tensor]) -> Conversion:
    ours = {name.removeprefix("a."): tensor for name, tensor in state.items() if name.startswith("a.")}
    unknown = [name for name in state if not name.startswith(("a.", "copy."))]
    copies = {name: "copy of a." for name in state if name.startswith("copy.")}
    return Conversion(ours, copies, unknown, [name for name in ("w", "b") if name not in ours])


def test_converted_file_holds_our_names_only(tmp_path: Path) -> None:
    everything = torch.arange(1000.0)
    torch.save({"a.w": everything[:2], "a.b": everything[2:4], "copy.w": everything[:2]}, tmp_path / "x.pth")
    conversion = convert_file(rename, tmp_path / "x.pth", tmp_path / "new" / "ours.pth")
    assert conversion.dropped == {"copy.w": "copy of a."}
    converted = load_state(tmp_path / "new" / "ours.pth")
    assert {name: tensor.tolist() for name, tensor in converted.items()} == {"w": [0, 1], "b": [2, 3]}
    assert (tmp_path / "new" / "ours.pth").stat().st_size < 3000  # not the storage that they are views of


def test_incomplete_conversion_says_what_did_not_map_and_writes_nothing(tmp_path: Path) -> None:
    torch.save({"a.w": torch.zeros(1), **{f"odd{i}": torch.zeros(1) for i in range(5)}}, tmp_path / "x.pth")
    target = tmp_path / "ours.pth"
    with pytest.raises(
        InputError, match=r"5 of its tensors are unknown \(odd0, odd1, odd2, …\) and 1 .*\(b\)"
    ):
        convert_file(rename, tmp_path / "x.pth", target)
    assert convert_file(rename, tmp_path / "x.pth", target, report_only=True).missing == ["b"]
    assert not target.exists()


def test_conversion_does_not_replace_its_source(tmp_path: Path) -> None:
    torch.save({"a.w": torch.zeros(1), "a.b": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="would replace"):
        convert_file(rename, tmp_path / "x.pth", tmp_path / "x.pth")


def test_conversion_onto_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a.w": torch.zeros(100_000), "a.b": torch.zeros(1)}, tmp_path / "x.pth")
    monkeypatch.setattr("harness.weights.atomic_file", lambda _: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(InputError, match=r"ours\.pth: No space left on device"):
        convert_file(rename, tmp_path / "x.pth", tmp_path / "ours.pth")
