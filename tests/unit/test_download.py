"""Downloads against a real server on localhost."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from urllib3.util.retry import Retry

from harness.download import RemoteFile, download
from harness.errors import InputError
from tests.unit.file_server import FileServer, serve
from tests.waiting import PATIENCE

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = Retry(3)  # no pauses
NEVER = Retry(0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(CONTENT)) as file:
        yield file


def remote(server: FileServer, sha256: str = SHA256) -> RemoteFile:
    return RemoteFile("weights 'x'", server.url, sha256, "use --weights none")


def test_whole_file_arrives_with_progress_and_leaves_nothing_else(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    digest = download(remote(server), tmp_path / "a" / "x.pth", lambda *step: seen.append(step))
    assert digest == SHA256
    assert (tmp_path / "a" / "x.pth").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {path.name for path in (tmp_path / "a").iterdir()} <= {"x.pth", "x.pth.lock"}


def test_leading_digits_of_the_checksum_suffice(server: FileServer, tmp_path: Path) -> None:
    assert download(remote(server, SHA256[:8]), tmp_path / "x.pth") == SHA256


def test_present_file_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(CONTENT)
    assert download(remote(server), tmp_path / "x.pth") == SHA256
    assert server.requests == []


def test_present_file_with_wrong_checksum_is_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"damaged")
    download(remote(server), tmp_path / "x.pth")
    assert (tmp_path / "x.pth").read_bytes() == CONTENT


def test_cut_connection_is_resumed_without_asking_twice_for_a_byte(
    server: FileServer, tmp_path: Path
) -> None:
    server.cuts = [300_000, 200_000]
    download(remote(server), tmp_path / "x.pth", retry=AT_ONCE)
    assert (tmp_path / "x.pth").read_bytes() == CONTENT
    assert len(server.requests) == 3
    # What the connection lost with its last piece (at most 64 KiB) has to come again, nothing more.
    resumed = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted, _ in server.requests if wanted]
    assert resumed[0] > 300_000 - 65_536
    assert resumed[1] > resumed[0] + 200_000 - 65_536


def test_next_run_resumes_what_an_earlier_one_left(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [500_000]
    with pytest.raises(InputError, match="breaks off"):
        download(remote(server), tmp_path / "x.pth", retry=NEVER)
    assert not (tmp_path / "x.pth").exists()
    seen: list[int] = []
    assert download(remote(server), tmp_path / "x.pth", lambda done, _: seen.append(done)) == SHA256
    assert server.requests[1][0] is not None
    assert seen[0] > 400_000


def test_attempts_are_counted_anew_while_bytes_arrive(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [150_000] * 5  # more interruptions than retries, but each brings something
    assert download(remote(server), tmp_path / "x.pth", retry=Retry(1)) == SHA256


def test_file_that_changed_on_the_server_starts_over(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [500_000]
    with pytest.raises(InputError):
        download(remote(server), tmp_path / "x.pth", retry=NEVER)
    server.content, server.etag = CONTENT[::-1], '"two"'
    digest = hashlib.sha256(server.content).hexdigest()
    assert download(remote(server, digest), tmp_path / "x.pth") == digest


@pytest.mark.parametrize("flaw", ["no ranges", "no validator", "weak validator"])
def test_server_that_cannot_resume_sends_all_again(server: FileServer, tmp_path: Path, flaw: str) -> None:
    server.ranges = flaw != "no ranges"
    server.etag = {"no ranges": '"one"', "no validator": None, "weak validator": 'W/"one"'}[flaw]
    server.cuts = [500_000]
    assert download(remote(server), tmp_path / "x.pth", retry=AT_ONCE) == SHA256
    assert [sent for _, sent in server.requests] == [500_000, len(CONTENT)]


def test_part_that_is_whole_already_is_taken(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [500_000]
    with pytest.raises(InputError):
        download(remote(server), tmp_path / "x.pth", retry=NEVER)
    (tmp_path / "x.pth.part").write_bytes(CONTENT)  # the process died between the last byte and the rename
    assert download(remote(server), tmp_path / "x.pth") == SHA256
    assert server.requests[-1][1] == 0


def test_wrong_checksum_removes_the_file_and_says_so(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights 'x'.*127\.0\.0\.1.*deadbeef is expected.*removed.*none"):
        download(remote(server, "deadbeef"), tmp_path / "x.pth")
    assert {path.name for path in tmp_path.iterdir()} <= {"x.pth.lock"}


def test_checksum_may_be_md5(server: FileServer, tmp_path: Path) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    right = RemoteFile("archive", server.url, md5, "use --archive", "md5")
    assert download(right, tmp_path / "x") == md5
    wrong = RemoteFile("archive", server.url, "0" * 32, "use --archive", "md5")
    with pytest.raises(InputError, match=rf"the MD5 {md5} where 0{{32}} is expected.*removed; use --archive"):
        download(wrong, tmp_path / "y")


def test_without_a_checksum_all_announced_bytes_must_arrive(server: FileServer, tmp_path: Path) -> None:
    unknown = RemoteFile("archive", server.url, "", "use --archive")
    server.cuts = [500_000]
    with pytest.raises(InputError, match="breaks off"):
        download(unknown, tmp_path / "x", retry=NEVER)
    assert not (tmp_path / "x").exists()
    assert download(unknown, tmp_path / "x") == ""
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert download(unknown, tmp_path / "x") == ""
    assert len(server.requests) == 2


def test_missing_file_is_not_tried_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(InputError, match="404 Not Found; use --weights none"):
        download(remote(server), tmp_path / "x.pth", retry=AT_ONCE)
    assert len(server.requests) == 1


def test_busy_server_is_tried_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [503, 503]
    assert download(remote(server), tmp_path / "x.pth", retry=AT_ONCE) == SHA256


def test_unreachable_host_is_one_sentence(server: FileServer, tmp_path: Path) -> None:
    nobody = RemoteFile("weights 'x'", "http://127.0.0.1:9/x.pth", SHA256, "use --weights none")
    with pytest.raises(InputError) as caught:
        download(nobody, tmp_path / "x.pth", retry=AT_ONCE)
    assert str(caught.value) == (
        "cannot download weights 'x' from 127.0.0.1: the host cannot be reached; use --weights none"
    )


def _download_after(gate: object, server_url: str, target: Path) -> None:
    gate.wait()  # type: ignore[attr-defined]
    download(RemoteFile("weights 'x'", server_url, SHA256, ""), target)


def test_two_processes_at_once_download_once(server: FileServer, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(2)
    pair = [
        context.Process(target=_download_after, args=(gate, server.url, tmp_path / "x.pth")) for _ in range(2)
    ]
    for process in pair:
        process.start()
    for process in pair:
        process.join(PATIENCE)
    assert [process.exitcode for process in pair] == [0, 0]
    assert len(server.requests) == 1


def test_full_disk_is_one_sentence_and_keeps_what_arrived(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"disk that holds .* is full; free some space"):
            download(remote(server), tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()
    assert download(remote(server), tmp_path / "x.pth") == SHA256


def test_really_full_disk_is_one_sentence(server: FileServer, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with pytest.raises(InputError, match="is full"):
            download(remote(server), small / "x.pth")
        assert not (small / "x.pth").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_unwritable_folder_is_one_sentence(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"into .*use --weights none"):
        download(remote(server), tmp_path / "file" / "x.pth")
