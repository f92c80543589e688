"""Class maps and logits of an image that is resized to a square (spec `mcc`, sections 7 and 8)."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.data.pixels import normalise
from harness.inference import Image, Scores
from harness.registry import INFERENCES
from methods.modules.refined_labels import resize
from methods.toco.network import TokenNetwork

MAPS = ("cam", "aux_cam")  # of the last and of the auxiliary block
Prepared = tuple[Tensor, tuple[int, int], npt.NDArray[np.float32] | None]


class _Square:
    """Resizes the normalised image to a square, whatever its shape.

    Args:
        size: side of the square in pixels; None leaves the image as it is.
    """

    def __init__(self, size: int | None = 448) -> None:
        self.size = size

    def prepare(self, image: Image, labels: npt.NDArray[np.float32] | None) -> Prepared:
        """The network's input (1, 3, h, w), the image size and the image-level label."""
        pixels = torch.from_numpy(normalise(image))[None]
        if self.size is not None:
            pixels = resize(pixels, (self.size, self.size))
        return pixels, (image.shape[0], image.shape[1]), labels


@INFERENCES.register_module()
class SquareMaps(_Square):
    """Multi-scale class maps of both depths, at the scales that the network trains with.

    Args:
        size: side of the square in pixels; None leaves the image as it is.
        map: what `infer` gives: `cam` or `aux_cam`.
    """

    kind: Literal["cam", "logits"] = "cam"
    needs_labels = True

    def __init__(self, size: int | None = 448, map: Literal["cam", "aux_cam"] = "cam") -> None:
        super().__init__(size)
        self.map = map

    def maps(self, model: torch.nn.Module, prepared: Prepared, device: torch.device) -> dict[str, Scores]:
        """Scores of both depths, each with keys (K,), cam (K, H/4, W/4) and high_res (K, H, W)."""
        pixels, (height, width), labels = prepared
        if labels is None:
            raise ValueError("CAMs are selected by image-level labels")
        keys = np.flatnonzero(labels)
        quarter = ((height + 3) // 4, (width + 3) // 4)
        if not len(keys):  # COCO has such images, which need no network
            both = [np.zeros((2, 0, *size), np.float32) for size in (quarter, (height, width))]
        else:
            given = torch.tensor(labels, device=device)[None]
            network = cast(TokenNetwork, model)
            found = network.class_maps(pixels.to(device), given)[:, 0, torch.from_numpy(keys).to(device)]
            both = [resize(found, size).float().cpu().numpy() for size in (quarter, (height, width))]
        return {
            name: {"keys": keys, "cam": both[0][depth], "high_res": both[1][depth]}
            for depth, name in enumerate(MAPS)
        }

    def infer(self, model: torch.nn.Module, prepared: Prepared, device: torch.device) -> Scores:
        """The scores of the configured depth."""
        return self.maps(model, prepared, device)[self.map]


@INFERENCES.register_module()
class SquareLogits(_Square):
    """Logits of the decoder, kept at the grid of patches."""

    kind: Literal["cam", "logits"] = "logits"
    needs_labels = False

    def infer(self, model: torch.nn.Module, prepared: Prepared, device: torch.device) -> Scores:
        """logits (K, h, w) float32 and size (2,)."""
        pixels, size, _ = prepared
        logits = model(pixels.to(device), mode="tensor")[0].float().cpu().numpy()
        return {"logits": logits, "size": np.asarray(size, dtype=np.int64)}
