"""Label maps are decoded as Pillow decodes them, or left to it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.palette import voc_palette
from harness.data.png import decode_labels, encode_png

LABELS = np.random.default_rng(0).integers(0, 256, size=(37, 41)).astype(np.uint8)


def png(labels: np.ndarray, palette: bool, **options: Any) -> bytes:
    image = Image.fromarray(labels)
    if palette:
        image.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(37, 41), (1, 1), (2, 300)])
@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"optimize": True}, {"dpi": (72, 72)}])
def test_labels_of_a_palette_are_those_that_were_written(
    size: tuple[int, int], options: dict[str, Any]
) -> None:
    labels = np.resize(LABELS, size)
    found = decode_labels(png(labels, palette=True, **options))
    assert found is not None
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, labels)


def test_our_own_files_are_decoded() -> None:
    np.testing.assert_array_equal(decode_labels(encode_png(LABELS, voc_palette())), LABELS)
    np.testing.assert_array_equal(decode_labels(encode_png(LABELS)), LABELS)


def test_what_a_decoder_would_have_to_work_on_is_left_to_it() -> None:
    smooth = np.add.outer(np.arange(60), np.arange(70)).astype(np.uint8)
    assert decode_labels(png(smooth, palette=False)) is None  # filtered
    few = png(LABELS % 3, palette=True, bits=2)
    colours = png(np.dstack([LABELS] * 3), palette=False)
    transparent = png(LABELS, palette=True, transparency=3)
    for other in (few, colours, transparent, b"", b"GIF89a", io.BytesIO().getvalue()):
        assert decode_labels(other) is None


def test_broken_files_are_left_to_a_decoder_that_says_why() -> None:
    whole = png(LABELS, palette=True)
    assert decode_labels(whole) is not None
    for place in range(8, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 1
        assert decode_labels(bytes(broken)) is None
        assert decode_labels(whole[:place]) is None
