"""What is evaluated: predictions of a stage or of other codes, and ground truth, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.artifact import MANIFEST, Artifact
from harness.data.dataset import Dataset
from harness.data.palette import read_mask
from harness.errors import InputError
from harness.layouts import Predictions, open_predictions
from harness.npz import read_npz
from harness.stages.per_image import unfinished

Mask = NDArray[np.uint8]
Kind = Literal["cams", "labels"]

_CHANNELS = 8  # of logits that are enlarged at a time: all 81 of COCO at once would take 100 MB and more


class Source(Protocol):
    """Predictions for images. It may be sent to worker processes."""

    @property
    def kind(self) -> Kind:
        """`cams`: class maps that need a background threshold; `labels`: label maps."""

    @property
    def name(self) -> str:
        """Where they are from, for messages."""

    @property
    def uses_torch(self) -> bool:
        """Whether reading labels needs torch."""

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Return the images that have no prediction."""

    def cams(self, image_id: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return class indices (K,) without background and their maps (K, H, W)."""

    def labels(self, image_id: str) -> Mask:
        """Return the predicted labels (H, W); 255 is undecided."""


@dataclass(frozen=True)
class ArtifactSource:
    """Scores or masks that a stage made."""

    artifact: Artifact

    @property
    def kind(self) -> Kind:
        return "cams" if self.artifact.manifest.meta.get("scores") == "cam" else "labels"

    @property
    def name(self) -> str:
        return f"the artifact of stage '{self.artifact.manifest.stage}'"

    @property
    def uses_torch(self) -> bool:
        return self.artifact.manifest.meta.get("scores") == "logits"

    @property
    def _suffix(self) -> str:
        return ".npz" if self.artifact.manifest.kind == "scores" else ".png"

    def missing(self, ids: Sequence[str]) -> list[str]:
        return unfinished(ids, self.artifact.files, self._suffix)

    def cams(self, image_id: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = read_npz(self.artifact.files / f"{image_id}.npz", ("keys", "high_res"))
        return scores["keys"], scores["high_res"]

    def labels(self, image_id: str) -> Mask:
        path = self.artifact.files / f"{image_id}{self._suffix}"
        if self.artifact.manifest.kind == "masks":
            return read_mask(path)
        scores = read_npz(path)
        height, width = (int(side) for side in scores["size"])
        return winning_class(scores["logits"], (height, width))


@dataclass(frozen=True)
class FolderSource:
    """Predictions of other codes, in a layout of `harness.layouts`."""

    predictions: Predictions

    @property
    def kind(self) -> Kind:
        return "cams" if self.predictions.kind == "cam" else "labels"

    @property
    def name(self) -> str:
        return str(self.predictions.folder)

    @property
    def uses_torch(self) -> bool:
        return False

    def missing(self, ids: Sequence[str]) -> list[str]:
        there = set(self.predictions.ids)
        return [image_id for image_id in ids if image_id not in there]

    def cams(self, image_id: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return self.predictions.read(image_id)

    def labels(self, image_id: str) -> Mask:
        if self.predictions.kind == "masks":
            return self.predictions.read_mask(image_id)
        keys, maps = self.predictions.read(image_id)
        return keys.astype(np.uint8)[maps.argmax(0)]


def open_source(folder: Path, layout: str | None, num_classes: int) -> Source:
    """Open the artifact of a stage, by its folder or its files/, or a folder of other predictions.

    Args:
        layout: a layout of `harness.layouts`; None recognises it.
        num_classes: classes without background.

    Raises:
        InputError: there is nothing that can be evaluated.
    """
    for place in (folder, folder.parent):
        if layout is None and (place / MANIFEST).is_file():
            artifact = Artifact(place)
            if artifact.manifest.kind not in ("scores", "masks"):
                raise InputError(
                    f"{place} holds a {artifact.manifest.kind}: name an artifact of scores or masks"
                )
            return ArtifactSource(artifact)
    return FolderSource(open_predictions(folder, layout, num_classes=num_classes))


def winning_class(logits: NDArray[np.float32], size: tuple[int, int]) -> Mask:
    """Return the arg-max of logits that are enlarged bilinearly, the lowest class at a tie.

    Args:
        logits: (C, h, w), C at most 255.
        size: H, W of the result.
    """
    from harness.ops.resize import upsample_logits

    winner = np.zeros(size, np.uint8)
    best = np.full(size, -np.inf, np.float32)
    for start in range(0, len(logits), _CHANNELS):
        for label, scores in enumerate(upsample_logits(logits[start : start + _CHANNELS], size), start=start):
            winner[scores > best] = label
            best = np.maximum(best, scores)
    return winner


class GroundTruth(Protocol):
    """Masks to compare with."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, background first."""

    def mask(self, image_id: str) -> Mask:
        """Return the labels (H, W); 255 is not counted."""


@dataclass(frozen=True)
class DatasetTruth:
    """Ground truth of a split of a dataset."""

    dataset: Dataset
    split: str

    @property
    def classes(self) -> Sequence[str]:
        return self.dataset.classes

    def mask(self, image_id: str) -> Mask:
        return self.dataset.read_mask(image_id, self.split)


@dataclass(frozen=True)
class FolderTruth:
    """Ground truth from a folder of PNGs `<image id>.png`, without a dataset's layout."""

    folder: Path
    num_classes: int

    @property
    def classes(self) -> Sequence[str]:
        return ["background", *(f"class {label}" for label in range(1, self.num_classes + 1))]

    def mask(self, image_id: str) -> Mask:
        return read_mask(self.folder / f"{image_id}.png")
