"""Method `weaktr`: its losses and the converters of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state, strip_module_prefix
from methods.weaktr.backbone import ClassTokenViT
from methods.weaktr.network import AttentionCAM

UNUSED_NORM = "final norm, which the released network has and never uses"
TRUNK = {
    "cls_token": "cls_token",
    "pos_embed": "pos_embed",
    "patch_embed.proj": "patch_embed",
    "blocks": "blocks",
}
IMAGENET_HEAD = "ImageNet classifier, which the network does not use"


@MODELS.register_module()
class WeakTr(AttentionCAM):
    """The network trained by three multi-label soft-margin losses (spec `semples`, section 5.3)."""

    def scores(self, images: Tensor) -> dict[str, Tensor]:
        """Image scores (B, C) of the class tokens, the coarse CAM and the refined CAM."""
        features = self.features(images)
        cams = self.cams(features)
        return {
            "cls": features.classes.mean(-1),
            "coarse": cams.logits.mean((2, 3)),
            "fine": cams.refined().mean((2, 3)),
        }

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Three terms for images (B, 3, H, W) and multi-hot labels (B, C) float32."""
        return {
            f"loss_{name}": F.multilabel_soft_margin_loss(scores, labels)
            for name, scores in self.scores(images).items()
        }


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released checkpoint of WeakTr or SemPLeS onto `WeakTr`.

    Classes and reduction are those of the file's shapes. How features are pooled cannot be told from a file:
    the config says it.

    Raises:
        InputError: a tensor has another shape than DeiT-S has.
    """
    theirs = strip_module_prefix(state)
    channels = theirs["cls_token"].shape[1] if "cls_token" in theirs else 20
    dropped = {name: UNUSED_NORM for name in theirs if name.startswith("norm.")}
    fusion = "adaptive_attention_fusion"
    renames = {name: f"backbone.{ours}" for name, ours in TRUNK.items()} | {
        "head": "head",
        f"{fusion}.attn_feat_ffn": "fusion.feature_ffn",
        f"{fusion}.attn_head_ffn": "fusion.map_ffn",
    }
    expected = expected_state(lambda: AttentionCAM(channels, reduction=_reduction(theirs)))
    kept = {name: tensor for name, tensor in theirs.items() if name not in dropped}
    return account(kept, renames, expected, dropped)


def _reduction(state: Mapping[str, Tensor]) -> int:
    """Reduction of a released checkpoint, 8 where it holds no fusion."""
    rows = state.get("adaptive_attention_fusion.attn_head_ffn.0.weight")
    return 8 if rows is None or not rows.shape[0] else rows.shape[1] // rows.shape[0]


def convert_deit(state: Mapping[str, Tensor]) -> Conversion:
    """Map DeiT-S (ImageNet-1k) onto a `ClassTokenViT` with one token and a final norm; see `adapt_weights`.

    Raises:
        InputError: a tensor has another shape than DeiT-S has.
    """
    dropped = {name: IMAGENET_HEAD for name in state if name.startswith("head.")}
    kept = {name: tensor for name, tensor in state.items() if name not in dropped}
    expected = expected_state(lambda: ClassTokenViT(1, final_norm=True))
    return account(kept, TRUNK | {"norm": "norm"}, expected, dropped)
