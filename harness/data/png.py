"""Uncompressed PNG files whose bytes are the same on every machine.

Compressors differ: zlib and zlib-ng (which also varies with the processor) turn the same pixels into
different bytes. Generated datasets promise equal bytes for equal seeds, so they store pixels as they are.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

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
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


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
