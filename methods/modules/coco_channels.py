"""The 90 channels of networks that index COCO's classes by category id, and the 80 classes of this project.

Channel c stands for category id c + 1. Ten ids never occur (spec `semples`, section 2), so ten channels have
no class: image-level labels are 0 there, and their maps are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from harness.data.coco_classes import LABEL_OF_CATEGORY

CATEGORIES = 90
CHANNEL_OF_CLASS = tuple(
    category - 1 for category in sorted(LABEL_OF_CATEGORY, key=LABEL_OF_CATEGORY.__getitem__)
)

Channels = Literal["classes", "coco90"]


class ClassChannels:
    """Which channel of a network stands for which class of the dataset.

    Args:
        num_classes: foreground classes of the dataset.
        channels: `classes`: as many as those, in their order; `coco90`: category ids minus one.

    Attributes:
        count: channels of the network.

    Raises:
        ValueError: `coco90` with another number of classes than 80.
    """

    def __init__(self, num_classes: int, channels: Channels = "classes") -> None:
        if channels == "coco90" and num_classes != len(CHANNEL_OF_CLASS):
            raise ValueError(f"COCO has 80 classes, not {num_classes}; channels 'coco90' are for COCO alone")
        self.num_classes = num_classes
        self._of_class: Sequence[int] | None = CHANNEL_OF_CLASS if channels == "coco90" else None
        self.count = CATEGORIES if channels == "coco90" else num_classes

    def widen(self, labels: Tensor) -> Tensor:
        """(B, num_classes) labels to (B, count), 0 in channels without a class."""
        if self._of_class is None:
            return labels
        wide = labels.new_zeros(labels.shape[0], self.count)
        wide[:, self._index(labels)] = labels
        return wide

    def narrow(self, maps: Tensor) -> Tensor:
        """(B, count, ...) maps to (B, num_classes, ...) in the order of the dataset's classes."""
        return maps if self._of_class is None else maps[:, self._index(maps)]

    def _index(self, tensor: Tensor) -> Tensor:
        return torch.tensor(self._of_class, device=tensor.device)
