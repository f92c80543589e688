"""PNG files, written so that their bytes are the same on every machine, and label maps read quickly.

Compressors differ: zlib and zlib-ng (which also varies with the processor) turn the same pixels into
different bytes. Generated datasets promise equal bytes for equal seeds, so they store pixels as they are.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MEANINGLESS = {b"PLTE", b"IEND", b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"tEXt", b"tIME"}  # for labels
_LARGEST_IMAGE = 1 << 27  # pixels
_LARGEST_BLOCK = 65535  # of a stored deflate block, RFC 1951 section 3.2.4


def encode_png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Encode (H, W, 3) RGB, or (H, W) labels with a (256, 3) palette, as an uncompressed PNG."""
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 3
    rows = np.ascontiguousarray(pixels, dtype=np.uint8).reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))]
    if palette is not None:
        chunks.append(_chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    chunks += [_chunk(b"IDAT", _stored(unfiltered)), _chunk(b"IEND", b"")]
    return _SIGNATURE + b"".join(chunks)


def decode_labels(content: bytes) -> NDArray[np.uint8] | None:
    """Decode a PNG of 8-bit labels, (H, W) uint8, if it is of the plainest kind; None of any other file.

    That is one channel of gray values or places in a palette, neither interlaced nor filtered, as programs
    write palettes. It takes three quarters of the time of an image library, and evaluations wait for it.
    """
    if not content.startswith(_SIGNATURE):
        return None
    header, data, place = b"", [], len(_SIGNATURE)
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        kind, end = content[place + 4 : place + 8], place + 8 + length
        if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return None
        if kind == b"IHDR":
            header = content[place + 8 : end]
        elif kind == b"IDAT":
            data.append(content[place + 8 : end])
        elif kind not in _MEANINGLESS:
            return None
        place = end + 4
        if kind == b"IEND":
            return _unfiltered(header, b"".join(data))
    return None


def _unfiltered(header: bytes, data: bytes) -> NDArray[np.uint8] | None:
    """Rows behind a filter type 0 each, by a PNG's IHDR and its compressed data."""
    if len(header) != 13 or header[8] != 8 or header[9] not in (0, 3) or any(header[10:]):
        return None
    width, height = struct.unpack(">II", header[:8])
    size = height * (width + 1)
    if not 0 < size <= _LARGEST_IMAGE:
        return None
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, size)
    except zlib.error:
        return None
    if len(inflated) != size or not inflater.eof:
        return None
    rows = np.frombuffer(inflated, np.uint8).reshape(height, width + 1)
    return None if rows[:, 0].any() else np.ascontiguousarray(rows[:, 1:])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _stored(data: bytes) -> bytes:
    """Wrap `data` in a zlib stream of stored blocks."""
    out = [b"\x78\x01"]
    starts = range(0, max(len(data), 1), _LARGEST_BLOCK)
    for start in starts:
        block = data[start : start + _LARGEST_BLOCK]
        last = int(start == starts[-1])
        out.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    return b"".join(out) + struct.pack(">I", zlib.adler32(data))
