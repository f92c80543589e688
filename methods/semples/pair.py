"""A small CLIP that learns from captioned pictures of `shapes`, where the released one knows nothing.

It learns from pairs of pictures and captions as CLIP does, with the loss of Zhai et al., "Sigmoid Loss for
Language Image Pre-Training", ICCV 2023: of the few words that there are, a caption is often true of several
pictures of a batch, and softmax over a batch knows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from harness.data.shapes import picture_index
from harness.data.shapes_scene import CLASSES, scene_words
from harness.errors import InputError
from methods.semples.clip import CLIPTowers
from methods.semples.losses import soft_masks
from methods.semples.text import tokenize


def caption(words: Sequence[str]) -> str:
    """A sentence for the words of a picture: classes, then perhaps what is behind them."""
    objects = [word for word in words if word in CLASSES]
    behind = [word for word in words if word not in CLASSES]
    return f"a photo of {' on '.join([' and '.join(objects)] * bool(objects) + behind)}."


@MODELS.register_module()
class CaptionContrast(BaseModel):
    """Trains `CLIPTowers` to tell which captions of a batch are true of which pictures.

    Args:
        clip: arguments of the towers.
        scenes_seed: seed of the dataset, from which its captions follow.
        masked: part of the pictures that are seen through a random mask, as CLIP will see them.
    """

    def __init__(self, clip: dict[str, Any], *, scenes_seed: int = 0, masked: float = 0.5) -> None:
        super().__init__()
        self.clip = CLIPTowers(**clip)
        self.scenes_seed, self.masked = scenes_seed, masked
        self.scale = nn.Parameter(torch.tensor(10.0).log())
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def words(self, sample: SegDataSample) -> list[str]:
        """The words that are true of a picture: its visible classes and its texture.

        Raises:
            InputError: the picture is not one of these scenes.
        """
        image_id = str(sample.metainfo["image_id"])
        known = scene_words(self.scenes_seed, picture_index(image_id))
        classes = [CLASSES[index] for index in sample.image_labels.nonzero().flatten().tolist()]
        if not set(classes) <= set(known.classes):
            raise InputError(
                f"picture '{image_id}' shows {', '.join(classes)}, but scene seed {self.scenes_seed} draws "
                f"{', '.join(known.classes)}: set scenes_seed to the seed of the dataset"
            )
        return [*classes, known.texture]

    def loss(self, images: Tensor, truth: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`loss_pairs` for images (B, 3, S, S) and the words that are true of each."""
        told = [_some(words) for words in truth]
        captions = list(dict.fromkeys(told))
        target = torch.tensor([[set(words) <= set(known) for words in captions] for known in truth])
        seen = images
        if self.masked:
            chosen = (torch.rand(len(images), device=images.device) < self.masked)[:, None, None, None]
            masks = soft_masks(torch.rand(len(images), 5, 5, device=images.device), images.shape[-2:], 0.1)
            seen = torch.where(chosen, masks * images, images)
        tokens = tokenize([caption(words) for words in captions], self.clip.context_length)
        texts = F.normalize(self.clip.text_features(tokens.to(images.device)), dim=-1)
        logits = F.normalize(self.clip.image_features(seen), dim=-1) @ texts.T * self.scale.exp() + self.bias
        wanted = target.to(logits)
        return {
            "loss_pairs": F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1).mean()
        }

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor]:
        """Image features in mode `tensor`, the loss in mode `loss`.

        Raises:
            ValueError: another mode, or `loss` without data samples.
        """
        if mode == "tensor":
            return self.clip.image_features(inputs)
        if mode != "loss" or data_samples is None:
            raise ValueError(f"mode {mode!r} is not 'tensor' or 'loss' with data samples")
        return self.loss(inputs, [self.words(sample) for sample in data_samples])


def _some(words: Sequence[str]) -> tuple[str, ...]:
    """One or two of the words that are true of a picture, in their order; by torch's generator.

    A class is always among them if there is one: what is behind is learned with half the captions, too.
    """
    classes = [place for place, word in enumerate(words) if word in CLASSES] or list(range(len(words)))
    places = {classes[int(torch.randint(len(classes), ()))], int(torch.randint(len(words), ()))}
    return tuple(words[place] for place in sorted(places))
