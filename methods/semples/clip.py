"""CLIP: an image and a text tower with a common space (spec `semples`, section 4).

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. The
towers are OpenCLIP's. E is the width of the common space, W that of the text tower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmseg.registry import MODELS
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state
from methods.semples.text import CONTEXT, END, INNER_STOP, PREFIX, START, VOCABULARY

NOT_WEIGHTS = "size of the towers, which their shapes tell"
SIZES = ("input_resolution", "context_length", "vocab_size")


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


def convert_openai(state: Mapping[str, Tensor]) -> Conversion:
    """Map a CLIP of OpenAI with a ViT onto `CLIPTowers`; its sizes are the file's.

    Raises:
        InputError: a tensor has another shape than a tower of these sizes has.
    """
    dropped = {name: NOT_WEIGHTS for name in SIZES if name in state}
    theirs = {name: tensor for name, tensor in state.items() if name not in dropped}
    expected = expected_state(lambda: CLIPTowers(**tower_sizes(theirs)))
    return account(theirs, {name: name for name in theirs}, expected, dropped)


def tower_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the `CLIPTowers` that a state belongs to; those of ViT-B/32 where it does not say.

    Heads of the text tower are 64 wide, as in all of OpenAI's.
    """
    found: dict[str, Any] = {}
    if "text_projection" in state:
        width, found["embed_dim"] = state["text_projection"].shape
        found |= {"text_width": width, "text_heads": max(width // 64, 1)}
    if "positional_embedding" in state:
        found["context_length"] = state["positional_embedding"].shape[0]
    if "visual.conv1.weight" in state:
        width, _, _, found["patch_size"] = state["visual.conv1.weight"].shape
        found["vision_width"] = width
        if "visual.positional_embedding" in state:
            side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
            found["image_size"] = side * found["patch_size"]
    for argument, prefix in (
        ("vision_layers", "visual.transformer.resblocks."),
        ("text_layers", "transformer.resblocks."),
    ):
        blocks = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
        found |= {argument: len(blocks)} if blocks else {}
    return found
