"""VWE and VWL: image classes and visual words learned together.

Sources: Ru, Du, Wu, "Learning Visual Words for Weakly-Supervised Semantic Segmentation", IJCAI 2021 (VWE);
Ru, Du, Zhan, Wu, "Weakly-Supervised Semantic Segmentation with Visual Words Learning and Hybrid Pooling",
IJCV 2022 (VWL-L, VWL-M). Facts from the released code as in the spec `vwe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from harness.errors import InputError, nearest
from methods.modules.cam_classifier import CAMClassifier
from methods.vwe.encoder import WordAssignment, assign_words, init_codebook, sample_codebook, update_codebook
from methods.vwe.losses import decorrelation_loss, hybrid_pool, word_entropy


@dataclass(frozen=True)
class Variant:
    """What tells the three released training codes apart (spec section 1).

    Attributes:
        codebook: 'learned' is a parameter, 'memory' a moving average of features.
        hist_weight: weight of the histogram loss.
        decov_weight: weight of the codebook decorrelation loss.
        detach_layer2: layer1 and layer2 receive no gradient.
    """

    codebook: Literal["learned", "memory"]
    hist_weight: float
    decov_weight: float
    detach_layer2: bool


VARIANTS = {
    "vwe": Variant("learned", hist_weight=1.0, decov_weight=0.0, detach_layer2=True),
    "vwl_learned": Variant("learned", hist_weight=1.0, decov_weight=1.0, detach_layer2=True),
    "vwl_memory": Variant("memory", hist_weight=0.0, decov_weight=0.0, detach_layer2=False),
}


@dataclass(frozen=True)
class VWEOutputs:
    """Training outputs for a batch of N images.

    Attributes:
        image_logits: (N, C). hist_logits: (N, C). word_logits: (N, K).
        features: (N, D, h, w), the last stage's output.
        words: the assignment of its positions.
    """

    image_logits: Tensor
    hist_logits: Tensor
    word_logits: Tensor
    features: Tensor
    words: WordAssignment


@MODELS.register_module()
class VWE(CAMClassifier):
    """Visual words network.

    Learning-rate groups: `classifier`, `fc_a`, `fc_b` and `codebook` train at ten times the backbone's rate.

    Args:
        num_classes: foreground classes C.
        backbone: config of a `StageResNet`; its `detach_after` follows from `detach_layer2`.
        variant: 'vwe', 'vwl_learned' (VWL-L) or 'vwl_memory' (VWL-M).
        k_words: size K of the codebook.
        hspp_levels: pyramid levels of the hybrid pooling.
        hspp_gamma: weight of the global average in the hybrid pooling.
        hist_weight: replaces the variant's weight of the histogram loss.
        detach_layer2: replaces the variant's choice; training from random weights needs False.

    Raises:
        InputError: an unknown variant.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: dict[str, Any],
        *,
        variant: str = "vwe",
        k_words: int = 256,
        hspp_levels: Sequence[int] = (1, 2, 4),
        hspp_gamma: float = 2.0,
        hist_weight: float | None = None,
        detach_layer2: bool | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise InputError(
                f"VWE has no variant '{variant}'{nearest(variant, VARIANTS)}; "
                f"use one of {', '.join(VARIANTS)}."
            )
        chosen = VARIANTS[variant]
        detach = chosen.detach_layer2 if detach_layer2 is None else detach_layer2
        super().__init__(num_classes, {**backbone, "detach_after": 2 if detach else 0})
        self.hspp_levels, self.hspp_gamma = tuple(hspp_levels), hspp_gamma
        self.hist_weight = chosen.hist_weight if hist_weight is None else hist_weight
        self.decov_weight = chosen.decov_weight
        self.uses_memory = chosen.codebook == "memory"
        channels = self.backbone.out_channels
        self.fc_a = nn.Conv2d(k_words, num_classes, 1, bias=False)
        self.fc_b = nn.Conv2d(channels, k_words, 1, bias=False)
        if self.uses_memory:
            self.register_buffer("codebook", init_codebook(k_words, channels))
            self.register_buffer("codebook_sampled", torch.tensor(False))
        else:
            self.codebook = nn.Parameter(init_codebook(k_words, channels))

    def pool(self, features: Tensor) -> Tensor:
        """Hybrid spatial pyramid pooling in place of the global average."""
        return hybrid_pool(features, self.hspp_levels, self.hspp_gamma)

    def outputs(self, inputs: Tensor) -> VWEOutputs:
        """All heads for inputs (N, 3, H, W)."""
        features = self.features(inputs)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.hist_weight > 0):
            words = assign_words(features, self.codebook)
            hist_logits = self.fc_a(words.histogram).flatten(1)
        word_logits = self.fc_b(features.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return VWEOutputs(self.image_logits(features), hist_logits, word_logits, features, words)

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss terms; a memory codebook is updated after it was used.

        Args:
            inputs: (N, 3, H, W).
            labels: (N, C) float32 multi-hot.

        Returns:
            `loss_image`, `loss_word`, and as the variant has them `loss_hist`, `loss_decov`; `hist` and
            `entropy` are for the log.
        """
        out = self.outputs(inputs)
        hist = F.multilabel_soft_margin_loss(out.hist_logits, labels)
        terms = {
            "loss_image": F.multilabel_soft_margin_loss(out.image_logits, labels),
            "loss_word": F.multilabel_soft_margin_loss(out.word_logits, out.words.labels),
            "entropy": word_entropy(out.word_logits.detach()),
        }
        if self.hist_weight > 0:
            terms["loss_hist"] = self.hist_weight * hist
        else:
            terms["hist"] = hist
        if self.decov_weight > 0:
            terms["loss_decov"] = self.decov_weight * decorrelation_loss(self.codebook)
        if self.uses_memory and self.training:
            self._update_memory(out.features.detach(), out.words.index)
        return terms

    @torch.no_grad()
    def _update_memory(self, features: Tensor, index: Tensor) -> None:
        if self.codebook_sampled:
            self.codebook.copy_(update_codebook(self.codebook, features, index))
        else:
            # The released loop averages first and then replaces all rows, which leaves only the replacement.
            self.codebook.copy_(sample_codebook(features, self.codebook.shape[0]))
            self.codebook_sampled.fill_(True)
