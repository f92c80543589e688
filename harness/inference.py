"""How a trained network turns one image into scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from mmseg.registry import TRANSFORMS
from PIL import Image as PILImage

from harness.data import transforms as _transforms  # noqa: F401  registers them
from harness.data.pixels import normalise, resize, scale_flip_stack
from harness.ops.cam import FlipFusion, HighRes, Normalisation, cam_scores, fuse_flips
from harness.registry import INFERENCES

Image = npt.NDArray[np.uint8]
Scores = dict[str, np.ndarray]


class Inference(Protocol):
    """An inference procedure.

    One that makes several maps in a pass may have `maps(model, prepared, device) -> dict[str, Scores]`
    besides, for the outputs of a validation.

    Attributes:
        kind: `cam` (keys, cam, high_res) or `logits` (logits, size), see `docs/stage-contract.md`.
        needs_labels: whether image-level labels select the classes.
    """

    kind: Literal["cam", "logits"]
    needs_labels: bool

    def prepare(self, image: Image, labels: npt.NDArray[np.float32] | None) -> Any:
        """Work on the CPU that may run ahead on a thread."""

    def infer(self, model: torch.nn.Module, prepared: Any, device: torch.device) -> Scores:
        """Run the network and return the arrays to store."""


@INFERENCES.register_module()
class MultiScaleCAM:
    """Class activation maps over scales and mirror images (specs: vwe 7, irn A.3, hsc 7, rtc 8.1).

    Args:
        scales: factors of the image size.
        flip_fusion: how the pair of image and mirror is fused: `max` (VWE) or `sum` (all others).
        high_res: `direct` resizes each map to the image; `pad16` to the next multiple of 16 and cuts (IRNet).
        normalisation: of each class: by its maximum (`max`), or by minimum and maximum (`min_max`: SEAM;
            `range`, the plain form: WeakTr, SemPLeS).
    """

    kind: Literal["cam", "logits"] = "cam"
    needs_labels = True

    def __init__(
        self,
        scales: Sequence[float],
        flip_fusion: FlipFusion = "max",
        high_res: HighRes = "direct",
        normalisation: Normalisation = "max",
    ) -> None:
        self.scales = tuple(scales)
        self.flip_fusion = flip_fusion
        self.high_res = high_res
        self.normalisation = normalisation

    def prepare(
        self, image: Image, labels: npt.NDArray[np.float32] | None
    ) -> tuple[list[npt.NDArray[np.float32]], tuple[int, int], npt.NDArray[np.float32]]:
        """One (2, 3, h, w) stack per scale, the image size and the image-level label."""
        if labels is None:
            raise ValueError("CAMs are selected by image-level labels")
        # An image without any class (COCO has some) needs no network at all.
        stacks = [scale_flip_stack(image, scale) for scale in self.scales] if labels.any() else []
        return stacks, (image.shape[0], image.shape[1]), labels

    def infer(self, model: torch.nn.Module, prepared: Any, device: torch.device) -> Scores:
        """keys (K,), cam (K, H/4, W/4) and high_res (K, H, W)."""
        stacks, size, labels = prepared
        if not stacks:
            return _no_classes(size)
        maps = []
        for stack in stacks:
            pair = model(torch.from_numpy(stack).to(device), mode="tensor")
            maps.append(fuse_flips(pair, self.flip_fusion)[None])
        (scores,) = cam_scores(maps, torch.tensor(labels)[None], size, self.high_res, self.normalisation)
        return {
            "keys": scores.keys.cpu().numpy(),
            "cam": scores.cam.float().cpu().numpy(),
            "high_res": scores.high_res.float().cpu().numpy(),
        }


def _no_classes(size: tuple[int, int]) -> Scores:
    height, width = size
    return {
        "keys": np.zeros(0, dtype=np.int64),
        "cam": np.zeros((0, (height + 3) // 4, (width + 3) // 4), dtype=np.float32),
        "high_res": np.zeros((0, height, width), dtype=np.float32),
    }


@INFERENCES.register_module()
class SegmentationLogits:
    """Logits of a segmentation network over the whole image, kept at the network's stride.

    Args:
        transform: test-time transform from uint8 RGB to the network's input.
    """

    kind: Literal["cam", "logits"] = "logits"
    needs_labels = False

    def __init__(self, transform: dict[str, Any]) -> None:
        self.transform = TRANSFORMS.build(transform)

    def prepare(
        self, image: Image, labels: npt.NDArray[np.float32] | None
    ) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        """The network's input (3, h, w) and the image size."""
        array, _ = self.transform(image, None, np.random.default_rng(0))
        return array, (image.shape[0], image.shape[1])

    def infer(self, model: torch.nn.Module, prepared: Any, device: torch.device) -> Scores:
        """logits (classes, h, w) float32 and size (2,)."""
        array, size = prepared
        logits = model(torch.from_numpy(array)[None].to(device), mode="tensor")
        return {"logits": logits[0].float().cpu().numpy(), "size": np.asarray(size, dtype=np.int64)}


@runtime_checkable
class ScoresClasses(Protocol):
    """A network that tells classes, too."""

    def class_scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, C) scores, the higher the likelier, of images (N, 3, H, W)."""


@INFERENCES.register_module()
class LocalizationCAM:
    """Class maps of the whole image at one size, as localisation has them (rtc spec section 14).

    Args:
        side: of the square that the image is resized to, whatever its shape.
    """

    kind: Literal["cam", "logits"] = "cam"
    needs_labels = True

    def __init__(self, side: int = 224) -> None:
        self.side = side

    def prepare(
        self, image: Image, labels: npt.NDArray[np.float32] | None
    ) -> tuple[npt.NDArray[np.float32], tuple[int, int], npt.NDArray[np.int64]]:
        """The network's input (3, side, side), the image size and the classes (K,)."""
        if labels is None:
            raise ValueError("class maps are selected by image-level labels")
        square = resize(image, (self.side, self.side), PILImage.Resampling.BILINEAR)
        return normalise(square), (image.shape[0], image.shape[1]), np.flatnonzero(labels)

    def infer(self, model: torch.nn.Module, prepared: Any, device: torch.device) -> Scores:
        """keys (K,), cam (K, h, w) as large as the network makes it, high_res (K, H, W), both in [0, 1].

        Networks that tell classes add class_scores (C,).
        """
        array, size, keys = prepared
        inputs = torch.from_numpy(array)[None].to(device)
        maps = model(inputs, mode="tensor")[:, keys].float().clamp_min(0)
        maps = maps / maps.amax((2, 3), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
        found = {"keys": keys, "cam": maps[0].cpu().numpy()}
        if isinstance(model, ScoresClasses):
            found["class_scores"] = model.class_scores(inputs)[0].float().cpu().numpy()
        if not len(keys):
            return found | {"high_res": np.zeros((0, *size), np.float32)}
        large = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0]
        return found | {"high_res": large.cpu().numpy()}
