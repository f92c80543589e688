"""CLIP: an image and a text tower with a common space (spec `semples`, section 4).

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. The
towers are OpenCLIP's. E is the width of the common space, W that of the text tower.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.registry import MODELS
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from methods.semples.text import CONTEXT, END, INNER_STOP, PREFIX, START, VOCABULARY


@MODELS.register_module()
class CLIPTowers(CLIP):
    """OpenCLIP's towers with OpenAI's activation and names; the defaults are ViT-B/32.

    Args:
        embed_dim: E.
        image_size: side of the images in pixels; no other is taken.
        vision_layers: blocks of a ViT, or the four stages of a ResNet.
        vision_width: channels of a ViT's token, or of a ResNet's first stage.
        patch_size: of a ViT.
        context_length: tokens of a text at most.
        text_width: W.
        text_heads: attention heads.
        text_layers: blocks.
    """

    def __init__(
        self,
        embed_dim: int = 512,
        *,
        image_size: int = 224,
        vision_layers: int | Sequence[int] = 12,
        vision_width: int = 768,
        patch_size: int = 32,
        context_length: int = CONTEXT,
        text_width: int = 512,
        text_heads: int = 8,
        text_layers: int = 12,
    ) -> None:
        layers = vision_layers if isinstance(vision_layers, int) else tuple(vision_layers)
        super().__init__(
            embed_dim,
            CLIPVisionCfg(layers=layers, width=vision_width, patch_size=patch_size, image_size=image_size),
            CLIPTextCfg(
                context_length=context_length,
                vocab_size=VOCABULARY,
                width=text_width,
                heads=text_heads,
                layers=text_layers,
            ),
            quick_gelu=True,
        )
        self.image_size, self.text_width = image_size, text_width

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E) of images (B, 3, image_size, image_size), not normalised."""
        return self.visual(images)

    def patch_features(self, images: Tensor) -> Tensor:
        """(B, P, E) of the patches of a ViT, through the same norm and projection as the class token."""
        tokens = self.visual.forward_intermediates(
            images, indices=1, normalize_intermediates=True, intermediates_only=True, output_fmt="NLC"
        )
        return tokens["image_intermediates"][-1] @ self.visual.proj

    def text_features(self, tokens: Tensor) -> Tensor:
        """(n, E) at the end tokens of ids (n, length), not normalised.

        A token sees only those before it, so what follows the longest text is left out.
        """
        ends = tokens.argmax(1)
        tokens = tokens[:, : int(ends.max()) + 1]
        return self._at(self.token_embedding(tokens), ends)

    def prompt_features(self, prompts: Tensor) -> Tensor:
        """(C, E) of learnable prompts (C, L, W): "a photo of", the L vectors, a full stop (section 4.3).

        Raises:
            ValueError: the prompts are too long.
        """
        count, length, _ = prompts.shape
        if length + 6 > self.context_length:
            raise ValueError(f"prompts of {length} vectors do not fit into {self.context_length} tokens")
        fixed = torch.tensor([START, *PREFIX, INNER_STOP, END], device=prompts.device)
        fixed = self.token_embedding(fixed).expand(count, -1, -1)
        before, after = fixed.tensor_split([1 + len(PREFIX)], dim=1)
        ends = torch.full((count,), 5 + length, device=prompts.device)
        return self._at(torch.cat([before, prompts, after], dim=1), ends)

    def _at(self, embedded: Tensor, places: Tensor) -> Tensor:
        """Features (n, E) at one place each of embedded tokens (n, length, W)."""
        length = embedded.shape[1]
        hidden = self.transformer(
            embedded + self.positional_embedding[:length], attn_mask=self.attn_mask[:length, :length]
        )
        found = hidden[torch.arange(len(hidden), device=hidden.device), places]
        return self.ln_final(found) @ self.text_projection
