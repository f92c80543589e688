"""Bilinear resizing of stored logits to the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F


def upsample_logits(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear (align_corners false): (C, h, w) to (C, *size)."""
    tensor = torch.from_numpy(logits)[None]
    return F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0].numpy()
