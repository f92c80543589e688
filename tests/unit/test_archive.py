"""Archives that are damaged or mean harm: one sentence each, and nothing is written outside."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.archive import extract, members
from harness.errors import InputError

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in" / "data"
    folder.mkdir(parents=True)
    return folder


def plain(name: str, content: bytes = CONTENT) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as bundle:  # type: ignore[call-overload]
        for info, content in members:
            bundle.addfile(info, io.BytesIO(content))
    return path


def zip_(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for info, content in members:
            bundle.writestr(info, content)
    return path


def everything(name: str) -> str | None:
    return name


def untouched(tmp_path: Path) -> list[str]:
    """Files that are neither archives nor below the folder of a test."""
    return [
        str(path)
        for path in tmp_path.rglob("*")
        if path.is_file() and path.parent != tmp_path and "data" not in path.parts[len(tmp_path.parts) :]
    ]


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_only_what_is_wanted_is_unpacked_under_the_names_that_are_wanted(
    tmp_path: Path, folder: Path, name: str
) -> None:
    names = ["./x/one.txt", "x/two.txt", "y/three.txt"]
    if name == "a.zip":
        path = zip_(tmp_path / name, *((n, n.encode()) for n in names))
    else:
        mode = "w:gz" if name == "a.tgz" else "w"
        path = tar(tmp_path / name, *(plain(n, n.encode()) for n in names), mode=mode)
    steps: list[tuple[int, int]] = []
    files = extract(
        path,
        lambda n: f"new/{n.removeprefix('x/')}" if n.startswith("x/") else None,
        folder,
        lambda *step: steps.append(step),
    )
    assert files == {"new/one.txt": 11, "new/two.txt": 9}
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.txt")} == set(files)
    assert (folder / "new/one.txt").read_text() == "./x/one.txt"
    assert steps[-1] == (path.stat().st_size,) * 2
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", ["../evil", "x/../../evil", "/evil", "data/.."])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_outside_are_refused_even_if_nobody_wants_them(
    tmp_path: Path, folder: Path, name: str, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "tar":
        tar(path, plain("good"), plain(name))
    else:
        zip_(path, ("good", CONTENT), (name, CONTENT))
    for wanted in (everything, lambda name: None):
        with pytest.raises(InputError, match=rf"{path} holds '{name}', which leads outside .* again"):
            extract(path, wanted, folder)
    assert untouched(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
    ],
)
def test_links_and_devices_in_the_place_of_a_file_are_refused(
    tmp_path: Path, folder: Path, kind: bytes, word: str
) -> None:
    path = tar(tmp_path / "a.tar", plain("good"), special("x/bad", kind, "../../good"), plain("x/bad/deeper"))
    with pytest.raises(InputError, match=f"{path} holds x/bad as {word}, where a plain file belongs"):
        extract(path, everything, folder)
    assert untouched(tmp_path) == []
    # Where nobody wants them they do no harm.
    assert extract(path, lambda name: name if name == "good" else None, folder) == {"good": len(CONTENT)}


def test_links_and_encrypted_files_in_a_zip_are_refused(tmp_path: Path, folder: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match=r"a\.zip holds link as a link"):
        extract(zip_(tmp_path / "a.zip", (link, b"/etc/passwd")), everything, folder)
    path = zip_(tmp_path / "b.zip", ("secret", CONTENT))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"b\.zip holds secret as an encrypted file"):
        extract(path, everything, folder)


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"a\.tar holds x twice"):
        extract(tar(tmp_path / "a.tar", plain("x"), plain("x")), everything, folder)


def cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: cut(tar(path, plain("x"), plain("y")), 0.4),
        lambda path: cut(tar(path, plain("x"), plain("y"), mode="w:gz"), 0.6),
        lambda path: cut(zip_(path, ("x", CONTENT), ("y", CONTENT)), 0.6),
        lambda path: path.write_bytes(b"<html>not found</html>" * 100),
        lambda path: path.write_bytes(b""),
    ],
    ids=["tar", "tgz", "zip", "web page", "empty"],
)
def test_truncated_and_foreign_files_are_one_sentence(
    tmp_path: Path, folder: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "archive"
    make(path)
    with pytest.raises(
        InputError, match=rf"{path} cannot be read.*damaged or cut short, fetch it again"
    ) as error:
        extract(path, everything, folder)
    assert "\n" not in str(error.value)
    assert not list(folder.rglob("*.tmp"))


def test_damaged_byte_in_a_zip_names_the_member(tmp_path: Path, folder: Path) -> None:
    path = zip_(tmp_path / "a.zip", ("x", CONTENT), ("y", CONTENT))
    content = bytearray(path.read_bytes())
    content[content.rindex(CONTENT[:100]) + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip cannot be read at y \("):
        extract(path, everything, folder)
    assert [p.name for p in folder.iterdir()] == ["x"]


def test_missing_archive_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the archive .*absent\.tar"):
        list(members(tmp_path / "absent.tar"))


def test_nothing_is_written_through_a_link_that_leads_outside(tmp_path: Path, folder: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "x").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"x is a link that leads outside of .*data"):
        extract(tar(tmp_path / "a.tar", plain("x/y")), everything, folder)
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_left_alone(
    tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (folder / "x").symlink_to(tmp_path / "precious")
    extract(tar(tmp_path / "a.tar", plain("x")), everything, folder)
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (folder / "x").read_bytes() == CONTENT


def test_keep_leaves_whole_files_alone_and_replaces_short_ones(tmp_path: Path, folder: Path) -> None:
    path = tar(tmp_path / "a.tar", plain("x"), plain("y"))
    extract(path, everything, folder)
    before = (folder / "x").stat().st_mtime_ns
    (folder / "y").write_bytes(CONTENT[:10])
    assert extract(path, everything, folder, keep=True) == {"x": len(CONTENT), "y": len(CONTENT)}
    assert (folder / "x").stat().st_mtime_ns == before
    assert (folder / "y").read_bytes() == CONTENT
