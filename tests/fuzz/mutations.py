"""Makes wrong input out of right one."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

SECRET = "outside/secret"  # beside the folder that input is read in; nobody may open or make it
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)
_HOSTILE_NAMES = (
    f"../{SECRET}",
    f"../../{SECRET}",
    f"a/../../{SECRET}",
    "/tmp/wsss-fuzz-escape",
    "a\\..\\b",
    "",
    ".",
    "..",
    "a\0b",
    "x" * 300,
    "-rf",
    "a\nb",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1 << 70,
    1e308,
    -0.0,
    "",
    "\0",
    "é" * 50,
    "\ud800",
    f"../{SECRET}",
    "{}",
    "__import__('os').system('true')",
    [],
    {},
    [[]],
    {"type": "train"},
)
# What pickles that run something look like, as text that can stand anywhere in a stream.
_PICKLES = (
    b"cos\nsystem\n(S'touch escaped'\ntR.",
    b'cbuiltins\neval\n(S\'open("escaped", "w")\'\ntR.',
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0etouch escaped\x85R.",
    b"csubprocess\nPopen\n((S'touch'\nS'escaped'\nltR.",
    b"cnumpy.core.multiarray\nscalar\n",
    b"(((((((((",
    b"\x81",
    b"R",
    b"b",
)


def mutated_bytes(seed: bytes, rng: random.Random) -> bytes:
    """One to eight changes: bits, bytes, numbers, pieces cut, doubled, moved or put in."""
    content = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not content:
            content += rng.randbytes(8)
        place = rng.randrange(len(content))
        length = min(rng.choice((1, 2, 4, 8, 32, 256)), len(content) - place)
        match rng.randrange(9):
            case 0:
                content[place] ^= 1 << rng.randrange(8)
            case 1:
                content[place] = rng.randrange(256)
            case 2:
                size = rng.choice((1, 2, 4, 8))
                number = rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
                content[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
            case 3:
                del content[place : place + length]
            case 4:
                content[place:place] = content[place : place + length]
            case 5:
                del content[place:]
            case 6:
                content[place:place] = rng.randbytes(length)
            case 7:
                content[place:place] = rng.choice(_PICKLES)
            case _:
                other = rng.randrange(len(content))
                content[place : place + length] = content[other : other + length]
    return bytes(content)


def mutated_document(seed: Any, rng: random.Random) -> Any:
    """A JSON document with one to three of its values or keys changed."""
    document = copy.deepcopy(seed)
    for _ in range(rng.choice((1, 1, 2, 3))):
        nodes = list(_containers(document))
        if not nodes:
            return rng.choice(_VALUES)
        node = rng.choice(nodes)
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        match rng.randrange(4):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice((*_HOSTILE_NAMES, "type", "n" * 40, "\ud800"))] = node.pop(key)
            case 2 if isinstance(node, dict):
                node[rng.choice(_HOSTILE_NAMES)] = copy.deepcopy(node[key])
            case _:
                node[key] = copy.deepcopy(rng.choice(_VALUES))
    return document


def _containers(node: Any) -> Any:
    """All dictionaries and lists of a document that hold something."""
    if isinstance(node, dict | list) and node:
        yield node
        for child in node.values() if isinstance(node, dict) else node:
            yield from _containers(child)


def mutated_json(seed: Any, rng: random.Random) -> bytes:
    """The text of a changed document; sometimes the text itself is changed."""
    text = json.dumps(mutated_document(seed, rng)).encode()
    return mutated_bytes(text, rng) if rng.random() < 0.3 else text


def hostile_tar(rng: random.Random) -> bytes:
    """An archive with names and kinds of members that lead elsewhere, among good ones."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=rng.choice(("w", "w:gz"))) as tar:
        for _ in range(rng.randrange(1, 6)):
            good = rng.random() < 0.4
            info = tarfile.TarInfo(
                rng.choice(("a/b.txt", "c.txt")) if good else rng.choice(_HOSTILE_NAMES[:-1])
            )
            kinds = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
            info.type = tarfile.REGTYPE if rng.random() < 0.5 else rng.choice(kinds)
            info.linkname = rng.choice((f"../{SECRET}", "/", "..", "a/b.txt", "c.txt"))
            content = rng.randbytes(rng.choice((0, 1, 600)))
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return _sometimes_broken(buffer.getvalue(), rng)


def hostile_zip(rng: random.Random) -> bytes:
    """As `hostile_tar`, as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as bundle:
        for _ in range(rng.randrange(1, 6)):
            name = rng.choice(("a/b.txt", "c.txt", *_HOSTILE_NAMES))
            info = zipfile.ZipInfo(name or "empty")
            link = rng.random() < 0.2
            info.external_attr = (0o120777 if link else 0o100644) << 16
            bundle.writestr(info, f"../{SECRET}" if link else rng.randbytes(rng.choice((0, 1, 600))))
    return _sometimes_broken(buffer.getvalue(), rng)


def _sometimes_broken(content: bytes, rng: random.Random) -> bytes:
    return mutated_bytes(content, rng) if rng.random() < 0.4 else content


def override_text(paths: Sequence[str], rng: random.Random) -> str:
    """A `--set` text: a path that may exist, and a value that may fit."""
    path = rng.choice(paths)
    if rng.random() < 0.3:
        parts = path.split(".")
        parts[rng.randrange(len(parts))] = rng.choice(("", "type", "no", "__class__", "0", "stages", "x.y"))
        path = ".".join(parts)
    value = rng.choice(
        (
            lambda: repr(rng.choice(_VALUES)),
            lambda: str(rng.choice(_VALUES)),
            lambda: str(rng.uniform(-10, 10)),
            lambda: "[" * rng.choice((1, 50, 5000)),
            lambda: "(" * rng.randrange(1, 200) + ")" * rng.randrange(1, 200),
            lambda: "9" * rng.choice((5, 400, 6000)),
            lambda: "".join(
                chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x3000)))) for _ in range(9)
            ),
            lambda: "{'type': 'SGD', 'lr': 1}",
            lambda: "nan",
            lambda: "1e999",
            lambda: "b'x'",
            lambda: "{1, 2}",
        )
    )()
    return rng.choice((f"{path}={value}", f"{path}={value}", f"{path}={value}", value, f"={value}", path))


def header_changed(seed: bytes, rng: random.Random) -> bytes:
    """A `.npy` file whose header says something else about the same bytes."""
    shape = rng.choice(("(1<<40,)", "(-1,)", "(3, 4)", "()", "(1000000000000,)", "(2**20, 2**20)", "'x'"))
    descr = rng.choice(("'<f4'", "'|O'", "'<i8'", "'|V1000000'", "'<U100000000'", "[('a', '<f4')]", "None"))
    text = f"{{'descr': {descr}, 'fortran_order': {rng.choice((True, False, 2))}, 'shape': {shape}, }}"
    head = text.encode().ljust(118 - 10, b" ") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + seed[128:]


Mutation = Callable[[random.Random], bytes]
