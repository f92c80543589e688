"""What AffinityNet is trained on: crops, and labels where two CRFs on the CAMs agree (spec `rtc`, 8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS
from numpy.typing import NDArray
from PIL import Image

from harness.data.colours import ColourJitter
from harness.data.geometry import Offsets, ResizeCut, Square
from harness.data.palette import IGNORE
from harness.data.pixels import Float32Array, Uint8Array
from harness.data.transforms import Size, SquareCrop
from harness.ops.crf_refiner import channel_to_label

STRIDE = 8
_NOTHING = 1e-5  # scores of all classes below it: outside of the image


def average_pool(planes: NDArray[Any]) -> NDArray[np.float32]:
    """Mean of every 8 x 8 pixels: (C, H, W), multiples of 8, to (C, H / 8, W / 8) float32."""
    channels, height, width = planes.shape
    blocks = planes.reshape(channels, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return np.asarray(blocks.mean((2, 4), dtype=np.float32))


def affinity_label(
    low: NDArray[np.float32], high: NDArray[np.float32], keys: NDArray[np.integer]
) -> Uint8Array:
    """Foreground where it wins with much background, background where it wins with little, else 255.

    Args:
        low: (K + 1, h, w) scores, background first, of the lower alpha, whose background is stronger.
        high: the same of the higher alpha.
        keys: (K,) class indices without background.

    Returns:
        (h, w) uint8: 0, class + 1 or 255.
    """
    winner = low.argmax(0)
    label = channel_to_label(winner, keys)
    label[winner == 0] = IGNORE
    label[high.argmax(0) == 0] = 0
    label[np.maximum(low.max(0), high.max(0)) < _NOTHING] = IGNORE
    return label


@TRANSFORMS.register_module()
class AffinityCrop(SquareCrop):
    """A crop at the image's own size, mirrored with probability 1/2; the label at stride 8 of soft masks.

    What is outside of the image is black here, not the mean colour.

    Args:
        crop: side of the sample, a multiple of 8.
        jitter: arguments of `ColourJitter`; None leaves the colours as they are.
    """

    soft = True
    label_stride = STRIDE

    def __init__(self, crop: int = 448, jitter: Mapping[str, float] | None = None) -> None:
        if crop % STRIDE:
            raise ValueError(f"the crop of AffinityNet is a multiple of {STRIDE}, not {crop}")
        self.crop = crop
        self.jitter = None if jitter is None else ColourJitter(**jitter)

    def geometry(self, size: Size, rng: np.random.Generator) -> ResizeCut:
        """Draw a mirror and offsets."""
        flip = rng.random() < 0.5
        offsets = Offsets(*(int(rng.integers(abs(side - self.crop) + 1)) for side in (size[1], size[0])))
        return ResizeCut(size, Image.Resampling.BICUBIC, flip, offsets, self.crop)

    def raw(
        self, image: Uint8Array, label: Any, maps: Mapping[str, Uint8Array], rng: np.random.Generator
    ) -> tuple[Square, Uint8Array, dict[str, Float32Array]]:
        """As in `SquareCrop`, with soft masks for a label: `keys` (K,), `low` and `high` (K + 1, H, W)."""
        geometry = self.geometry((image.shape[0], image.shape[1]), rng)
        alter = self.jitter.draw(rng) if self.jitter else None
        square = Square(geometry.square(image, alter).pixels, slice(0, self.crop), slice(0, self.crop))
        low, high = (average_pool(geometry.cut(label[name])) for name in ("low", "high"))
        moved = {name: geometry.map(values) for name, values in maps.items()}
        return square, affinity_label(low, high, label["keys"]), moved
