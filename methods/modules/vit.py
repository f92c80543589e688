"""A plain vision transformer for any image size, with keys that can be hidden; its blocks are timm's.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Touvron et al., "Training
data-efficient image transformers", ICML 2021. Hidden keys: spec `mcc`, sections 1.1 and 11.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state, strip_module_prefix

IMAGENET_HEAD = "ImageNet classifier, which dense networks do not use"


class Tokens(NamedTuple):
    """What the transformer makes of images; (h, w) is the grid of patches.

    Attributes:
        class_token: (B, D) after the final norm.
        patches: (B, D, h, w) after the final norm.
        auxiliary: (B, D, h, w), the output of an inner block, without a norm.
    """

    class_token: Tensor
    patches: Tensor
    auxiliary: Tensor


class ViT(VisionTransformer):
    """timm's transformer with one class token, whose position table is resampled to the grid of each image.

    Args:
        embed_dim: D, channels of a token.
        depth: number of blocks.
        num_heads: per block.
        patch_size: side of a patch in pixels.
        image_size: side of the images that the position table is made for.
        auxiliary_block: block whose output is handed out besides; negative counts from the end.
        learn_positions: train the position table, which pretrained networks keep.
    """

    cls_token: nn.Parameter
    pos_embed: nn.Parameter

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_size: int = 16,
        image_size: int = 224,
        auxiliary_block: int = -3,
        learn_positions: bool = False,
    ) -> None:
        super().__init__(
            img_size=image_size,
            patch_size=patch_size,
            num_classes=0,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
        )
        self.patch_size = patch_size
        self.auxiliary_block = range(depth)[auxiliary_block]
        self.pos_embed.requires_grad_(learn_positions)

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of whole patches in images (B, 3, H, W); the rest of an image is not seen."""
        return image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, 1 + h * w, D): the table's class row, and its patch rows resampled bicubically."""
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        side = self.patch_embed.grid_size
        if grid == side:
            return self.pos_embed
        table = rest.reshape(1, *side, -1).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([first, table.flatten(2).transpose(1, 2)], dim=1)

    def embed(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the first block's input (B, 1 + h * w, D), class token first."""
        patches = self.patch_embed.proj(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self.positions(self.grid(image))

    def forward(self, image: Tensor, hidden: Tensor | None = None) -> Tokens:  # type: ignore[override]
        """Tokens of images (B, 3, H, W).

        Args:
            image: normalised.
            hidden: (B, 1 + h * w) bool, keys that no query sees in any block, the class token's first; every
                image must keep a key.
        """
        tokens = self.embed(image)
        mask = None if hidden is None else ~hidden[:, None, None, :].expand(-1, -1, tokens.shape[1], -1)
        auxiliary = tokens
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, attn_mask=mask)
            if index == self.auxiliary_block:
                auxiliary = tokens
        tokens = self.norm(tokens)
        grid = self.grid(image)
        return Tokens(tokens[:, 0], as_map(tokens, grid), as_map(auxiliary, grid))

    def class_tokens_of_visible(self, image: Tensor, hidden: Tensor) -> Tensor:
        """Class tokens of the same images under several key masks, computed from the visible tokens alone.

        A key that is hidden in every block changes neither a visible token nor the class token, so hidden
        tokens need not be computed. All views of an image form one sequence, in which a token sees its own
        view only: no view is padded to the length of another.

        Args:
            image: (B, 3, H, W) normalised.
            hidden: (V, B, h, w) bool per view; the class token is always visible.

        Returns:
            (V, B, D) after the final norm.
        """
        views, images = hidden.shape[:2]
        visible = F.pad(~hidden.flatten(2), (1, 0), value=True).transpose(0, 1)  # (B, V, 1 + h * w)
        length = visible.shape[-1]
        counts = visible.sum((1, 2))
        # Visible tokens to the front, view by view; shorter sequences end in tokens of no view.
        order = (~visible.flatten(1)).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(counts.max())]
        inside = torch.arange(order.shape[1], device=order.device) < counts[:, None]
        place, view = order % length, (order // length).where(inside, -1)
        tokens = self.embed(image)
        tokens = tokens.gather(1, place[..., None].expand(-1, -1, tokens.shape[-1]))
        mask = (view[:, :, None] == view[:, None, :])[:, None]
        for block in self.blocks:
            tokens = block(tokens, attn_mask=mask)
        first = tokens[inside & (place == 0)]  # row by row: B * V class tokens
        return self.norm(first).view(images, views, -1).transpose(0, 1)


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens (B, 1 + h * w, D) to a map of the patches (B, D, h, w)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def convert_imagenet(state: Mapping[str, Tensor]) -> Conversion:
    """Map DeiT's and timm's ImageNet checkpoints of a plain ViT onto `ViT`; width and depth are the file's.

    Raises:
        InputError: a tensor has another shape than ours.
    """
    theirs = strip_module_prefix(state)
    head = {name: IMAGENET_HEAD for name in theirs if name.startswith("head.")}
    trunk = {name: tensor for name, tensor in theirs.items() if name not in head}
    expected = expected_state(lambda: ViT(**dimensions(trunk)))
    return account(trunk, {name: name for name in trunk}, expected, head)


def dimensions(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """Arguments of the `ViT` that a checkpoint belongs to; those of DeiT-B where it does not say.

    Heads are 64 wide, as in every published plain ViT.
    """
    found: dict[str, Any] = {"auxiliary_block": -1}  # every depth has it, and no checkpoint tells
    kernel = state.get(f"{prefix}patch_embed.proj.weight")
    if kernel is not None:
        width, patch = kernel.shape[0], kernel.shape[-1]
        found |= {"embed_dim": width, "patch_size": patch, "num_heads": max(width // 64, 1)}
        table = state.get(f"{prefix}pos_embed")
        if table is not None:
            found["image_size"] = patch * round((table.shape[1] - 1) ** 0.5)
    blocks = {name.removeprefix(f"{prefix}blocks.").split(".")[0] for name in state if "blocks." in name}
    return found | ({"depth": len(blocks)} if blocks else {})
