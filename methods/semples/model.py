"""The three trainings of SemPLeS on a frozen transformer and a frozen CLIP (spec `semples`, sections 1, 5).

K is the number of pairs of an image and one of its classes in a batch, C the network's channels, E the width
of CLIP's common space, W that of its text tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from methods.semples.clip import CLIPTowers
from methods.semples.losses import Pairs, attract, cosine, repel, repel_by_log, soft_masks
from methods.semples.text import chance_of_nearest, class_texts, nearest_tokens, tokenize
from methods.weaktr.network import AttentionCAM

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_CLIP_PREFIX = "clip."


class Masked(NamedTuple):
    """What CLIP gets to see of the pairs of a batch: (K, 3, S, S) each.

    Attributes:
        front: the class's object is left.
        back: it is taken away.
    """

    front: Tensor
    back: Tensor


class SemPLeS(BaseModel):
    """Network, CLIP and class texts; subclasses say what is trained.

    CLIP is an input that never changes: checkpoints leave it out, and it is loaded by `weights` or `init`.

    Args:
        network: arguments of an `AttentionCAM`, which is frozen.
        clip: arguments of `CLIPTowers`.
        texts: `classes_<texts>.yaml`, in the order of the network's channels.
        mask_eps: added to the range of the maps that become masks.
        clip_normalise: give CLIP images with its own mean and deviation; as released, it gets ImageNet's.
    """

    tokens: Tensor
    _texts: Tensor | None

    def __init__(
        self,
        network: dict[str, Any],
        clip: dict[str, Any],
        texts: str,
        *,
        mask_eps: float,
        clip_normalise: bool = False,
    ) -> None:
        super().__init__()
        self.network = AttentionCAM(**network, frozen=True)
        self.network.backbone.requires_grad_(False)
        self.clip = CLIPTowers(**clip).requires_grad_(False)
        sentences = class_texts(texts).sentences()
        if len(sentences) != self.network.classes.count:
            raise ValueError(
                f"classes_{texts}.yaml has {len(sentences)} names, the network {self.network.classes.count} "
                "channels"
            )
        self.mask_eps, self.clip_normalise = mask_eps, clip_normalise
        self.register_buffer("tokens", tokenize(sentences, self.clip.context_length), persistent=False)
        self.register_buffer("_texts", None, persistent=False)
        self.register_state_dict_post_hook(_without_clip)
        self.register_load_state_dict_post_hook(_clip_stays)

    def train(self, mode: bool = True) -> SemPLeS:
        """Switch the mode of all but CLIP."""
        super().train(mode)
        self.clip.eval()
        return self

    @torch.no_grad()
    def texts(self) -> Tensor:
        """(C, E) features of the class texts, computed once."""
        if self._texts is None:
            self._texts = self.clip.text_features(self.tokens)
        return self._texts

    def masked(self, images: Tensor, pairs: Pairs) -> Masked:
        """Front and back of every pair, for images (B, 3, S, S)."""
        maps = self.network.cams(self.network.features(images)).refined()
        masks = soft_masks(maps[pairs.images, pairs.classes], images.shape[-2:], self.mask_eps)
        seen = (self.for_clip(images) if self.clip_normalise else images)[pairs.images]
        front = masks * seen
        return Masked(front, seen - front)

    def for_clip(self, images: Tensor) -> Tensor:
        """Images normalised by ImageNet's statistics to those normalised by CLIP's."""
        mean, deviation, clip_mean, clip_deviation = (
            images.new_tensor(values).view(3, 1, 1)
            for values in (IMAGENET_MEAN, IMAGENET_STD, CLIP_MEAN, CLIP_STD)
        )
        return (images * deviation + mean - clip_mean) / clip_deviation

    def terms(self, images: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """Loss terms of a batch with at least one pair."""
        raise NotImplementedError

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss terms for images (B, 3, S, S) and multi-hot labels (B, C); nothing to learn without labels."""
        pairs = Pairs.of(labels)
        if len(pairs):
            return self.terms(images, pairs)
        anchored = sum(p.sum() for p in self.parameters() if p.requires_grad)
        return {"loss_none": 0 * anchored}

    def forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | Sequence[SegDataSample]:
        """Dispatch on the mode: `loss` is SemPLeS's, `tensor` and `predict` are the network's.

        Raises:
            ValueError: an unknown mode, or `loss`/`predict` without data samples.
        """
        if mode != "loss":
            return self.network(inputs, data_samples, mode)
        if data_samples is None:
            raise ValueError("mode 'loss' needs data samples")
        labels = torch.stack([sample.image_labels for sample in data_samples]).to(inputs.device)
        return self.loss(inputs, self.network.classes.widen(labels))


@MODELS.register_module()
class SegmentLabelMatching(SemPLeS):
    """Training (a): the front of a pair should match its class text, the back should not (section 3.2).

    Args:
        back_weight: of the back's term; lambda_b.
    """

    def __init__(
        self,
        network: dict[str, Any],
        clip: dict[str, Any],
        texts: str,
        *,
        back_weight: float,
        mask_eps: float = 0.1,
        clip_normalise: bool = False,
    ) -> None:
        super().__init__(network, clip, texts, mask_eps=mask_eps, clip_normalise=clip_normalise)
        self.back_weight = back_weight

    def terms(self, images: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """`loss_front` and `loss_back`, weighted."""
        masked = self.masked(images, pairs)
        return self.match(self.clip.image_features(torch.cat(masked)), pairs)

    def match(self, features: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """The two terms, for features (2 K, E) of all fronts and then all backs."""
        front, back = features.chunk(2)
        texts = self.texts()[pairs.classes]
        return {
            "loss_front": attract(cosine(front, texts)),
            "loss_back": self.back_weight * repel(cosine(back, texts)),
        }


@MODELS.register_module()
class ContrastivePrompts(SemPLeS):
    """Training (b): a prompt per class learns what is left without the class (section 3.3).

    Args:
        length: vectors of a prompt; L.
        text_weight: of the term that keeps a prompt off its class's text; lambda_T.
        init: of the prompts: `uniform` in [0, 1), as released, or `normal` with deviation 0.02.
        text_repulsion: `log`: mean log(s), as released; `neg_log_one_minus`: -mean log(1 - s), like the
        others.
    """

    def __init__(
        self,
        network: dict[str, Any],
        clip: dict[str, Any],
        texts: str,
        *,
        text_weight: float,
        length: int = 30,
        init: Literal["uniform", "normal"] = "uniform",
        text_repulsion: Literal["log", "neg_log_one_minus"] = "log",
        mask_eps: float = 1e-4,
        clip_normalise: bool = False,
    ) -> None:
        super().__init__(network, clip, texts, mask_eps=mask_eps, clip_normalise=clip_normalise)
        self.network.requires_grad_(False)
        shape = (self.network.classes.count, length, self.clip.text_width)
        self.learned = LearnedPrompts(
            torch.rand(shape) if init == "uniform" else 0.02 * torch.randn(shape), class_texts(texts).names
        )
        self.text_weight = text_weight
        self.off_text = {"log": repel_by_log, "neg_log_one_minus": repel}[text_repulsion]

    def train(self, mode: bool = True) -> ContrastivePrompts:
        """Switch the mode of nothing: the network is in eval mode here, without stochastic depth."""
        super().train(mode)
        self.network.eval()
        return self

    def inspection(self) -> dict[str, Any]:
        """Per class the token that each vector of its prompt is nearest to, with their cosine.

        `chance` is the mean of such cosines for vectors that nobody has learned.
        """
        embedding = self.clip.token_embedding.weight
        found = nearest_tokens(self.learned.prompts.flatten(0, 1).detach(), embedding)
        length = self.learned.prompts.shape[1]
        rows = [[nearest[0] for nearest in found[i : i + length]] for i in range(0, len(found), length)]
        return {
            "prompts": dict(zip(self.learned.names, rows, strict=True)),
            "chance": chance_of_nearest(embedding),
        }

    def terms(self, images: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """`loss_back_prompt` and `loss_text_prompt`, weighted; only the classes of the batch are encoded."""
        with torch.no_grad():
            backs = self.clip.image_features(self.masked(images, pairs).back)
        classes, place = pairs.classes.unique(return_inverse=True)
        prompts = self.clip.prompt_features(self.learned.prompts[classes])[place]
        return {
            "loss_back_prompt": attract(cosine(backs, prompts)),
            "loss_text_prompt": self.text_weight
            * self.off_text(cosine(self.texts()[pairs.classes], prompts)),
        }


@MODELS.register_module()
class PromptGuidedRefinement(SegmentLabelMatching):
    """Training (c): as (a), and the front should not match the prompt of its class (section 3.4).

    The prompts come from (b) and stay; `init` puts them here.

    Args:
        length: vectors of a prompt; L.
        refine_weight: of the prompts' term; lambda.
    """

    _prompt_features: Tensor | None

    def __init__(
        self,
        network: dict[str, Any],
        clip: dict[str, Any],
        texts: str,
        *,
        back_weight: float,
        refine_weight: float,
        length: int = 30,
        mask_eps: float = 0.1,
        clip_normalise: bool = False,
    ) -> None:
        super().__init__(
            network,
            clip,
            texts,
            back_weight=back_weight,
            mask_eps=mask_eps,
            clip_normalise=clip_normalise,
        )
        self.refine_weight = refine_weight
        shape = (self.network.classes.count, length, self.clip.text_width)
        self.learned = LearnedPrompts(torch.zeros(shape), class_texts(texts).names).requires_grad_(False)
        self.register_buffer("_prompt_features", None, persistent=False)

    @torch.no_grad()
    def prompt_features(self) -> Tensor:
        """(C, E) features of the prompts, computed once."""
        if self._prompt_features is None:
            self._prompt_features = self.clip.prompt_features(self.learned.prompts)
        return self._prompt_features

    def terms(self, images: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """The terms of (a) and `loss_refine`, from the same features of the fronts."""
        features = self.clip.image_features(torch.cat(self.masked(images, pairs)))
        similarity = cosine(features.chunk(2)[0], self.prompt_features()[pairs.classes])
        return {**self.match(features, pairs), "loss_refine": self.refine_weight * repel(similarity)}


class LearnedPrompts(nn.Module):
    """A prompt per class, in the layout of the released `btp.pth`.

    Args:
        values: (C, L, W).
        names: of the classes.
    """

    def __init__(self, values: Tensor, names: Sequence[str]) -> None:
        super().__init__()
        self.prompts = nn.Parameter(values)
        self.names = tuple(names)


def _without_clip(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix + _CLIP_PREFIX)]:
        del state[name]


def _clip_stays(module: nn.Module, incompatible: Any) -> None:
    """A state without CLIP leaves CLIP as it is; what was computed from older states goes."""
    incompatible.missing_keys[:] = [
        name for name in incompatible.missing_keys if not name.startswith(_CLIP_PREFIX)
    ]
    for name in ("_texts", "_prompt_features"):
        if hasattr(module, name):
            setattr(module, name, None)
