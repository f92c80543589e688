"""MATLAB files: what scipy writes is read, by structure and field, and nothing else."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.io import savemat

from harness.data.matlab import read_uint8_field


def written(variables: dict[str, Any], compressed: bool = True) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    mask=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    compressed=st.booleans(),
    others=st.dictionaries(st.sampled_from(["A", "Bcd", "a_long_name"]), st.integers(-5, 1 << 20)),
    last=st.booleans(),
)
def test_a_field_is_found_among_others(
    mask: np.ndarray, compressed: bool, others: dict[str, int], last: bool
) -> None:
    fields = {**others, "Segmentation": mask} if last else {"Segmentation": mask, **others}
    content = written({"first": np.eye(3), "GTcls": fields, "later": "text"}, compressed)
    found = read_uint8_field(content, "GTcls", "Segmentation")
    assert found.dtype == np.uint8
    assert np.array_equal(found, mask)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"other": {"Segmentation": np.zeros((2, 2), np.uint8)}}, "it has no GTcls"),
        ({"GTcls": np.zeros((2, 2), np.uint8)}, "GTcls is no structure"),
        ({"GTcls": {"Boundaries": 1}}, "GTcls has no Segmentation"),
        ({"GTcls": {"Segmentation": np.zeros((2, 2))}}, "class 6 and shape"),
        ({"GTcls": {"Segmentation": np.zeros((2, 2, 2), np.uint8)}}, "stands where bytes belong"),
    ],
)
def test_other_content_is_refused(variables: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_uint8_field(written(variables), "GTcls", "Segmentation")


def test_every_cut_is_noticed() -> None:
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for compressed in (True, False):
        content = written({"GTcls": {"Segmentation": mask}}, compressed)
        for length in range(len(content) - 8):
            with pytest.raises(ValueError, match=r"^(it|an|a|GTcls) "):
                read_uint8_field(content[:length], "GTcls", "Segmentation")
