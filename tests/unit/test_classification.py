from __future__ import annotations

import numpy as np
import pytest

from harness.metrics.classification import average_precision_per_image, f1_per_image


def test_f1_by_hand() -> None:
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    predicted = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert f1_per_image(labels, predicted).tolist() == [0.5, 1.0, 0.0]


def test_average_precision_by_hand() -> None:
    """Ranks 1 and 3 of four: (1/1 + 2/3) / 2. An image without classes is left out, equal scores share."""
    labels = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.1, 0.2]])
    assert average_precision_per_image(labels, scores).tolist() == pytest.approx([5 / 6, 1 / 2])
