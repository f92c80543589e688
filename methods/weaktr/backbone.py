"""Plain vision transformers with one class token per class (spec `semples`, section 3.1).

DeiT: Touvron et al., "Training data-efficient image transformers & distillation through attention", ICML
2021. Several class tokens: Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic
Segmentation", CVPR 2022. The blocks are timm's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

Resample = Literal["bicubic", "bilinear"]


class BlockOutput(NamedTuple):
    """What a block leaves.

    Attributes:
        tokens: (B, N, D), the input of the next block.
        attention: (B, H, N, N), rows sum to 1.
        branch: (B, N, D), the attention branch behind its projection, before the residual and drop path.
    """

    tokens: Tensor
    attention: Tensor
    branch: Tensor


def attend(block: Block, tokens: Tensor) -> BlockOutput:
    """Run a block of timm on tokens (B, N, D) and keep its attention, which its own forward does not."""
    attn = cast(Attention, block.attn)
    batch, count, _ = tokens.shape
    qkv = attn.qkv(block.norm1(tokens)).reshape(batch, count, 3, attn.num_heads, attn.head_dim)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    attention = (query * attn.scale @ key.transpose(-2, -1)).softmax(-1)
    branch = attn.proj((attention @ value).transpose(1, 2).reshape(batch, count, -1))
    tokens = tokens + block.drop_path1(branch)
    return BlockOutput(tokens + block.drop_path2(block.mlp(block.norm2(tokens))), attention, branch)


def patch_positions(
    patches: Tensor, grid: tuple[int, int], size: tuple[int, int], resample: Resample = "bicubic"
) -> Tensor:
    """Interpolate the positions of a square grid of patches for an image of another size.

    The factors are a tenth of a patch larger than the grids' ratio and are the coordinates' own, as in the
    release of DINO and those after it; `bilinear` uses the plain ratio (Segmenter).

    Args:
        patches: (1, G * G, D).
        grid: h, w patches of the image.
        size: H, W of the image.
        resample: how.

    Returns:
        (1, h * w, D); the stored positions themselves for a square image of G * G patches.
    """
    stored = patches.shape[1]
    if grid[0] * grid[1] == stored and size[0] == size[1]:
        return patches
    side = math.isqrt(stored)
    planes = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if resample == "bilinear":
        planes = F.interpolate(planes, size=grid, mode="bilinear", align_corners=False)
    else:
        factors = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
        planes = F.interpolate(
            planes, scale_factor=factors, mode="bicubic", align_corners=False, recompute_scale_factor=False
        )
    return planes.flatten(2).transpose(1, 2)


def convolutional_stem(width: int, patch_size: int) -> nn.Sequential:
    """Convolutions of stride 2 down to the grid of patches, in the place of one large one.

    Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021: a transformer learns
    from fewer images.
    """
    layers: list[nn.Module] = []
    channels = [3, width // 2] + [width] * (patch_size.bit_length() - 2)
    for before, after in pairwise(channels):
        convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1))


@MODELS.register_module()
class ClassTokenViT(nn.Module):
    """A vision transformer with class tokens before the patches.

    The defaults are DeiT-S. B is the batch, C the class tokens, N all tokens.

    Args:
        num_tokens: class tokens.
        image_size: side of the square image that the stored positions belong to, in pixels.
        patch_size: side of a patch, in pixels.
        width: D, channels of a token.
        depth: blocks.
        heads: attention heads of a block.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0 in the first.
        resample: how positions are interpolated for images of another size.
        stem: `patch` is DeiT's; `conv` see `convolutional_stem`; its patches have 4, 8, 16, ... pixels.
        mimetic: begin with attention between alike and near patches, see `attend_to_alike`.
        final_norm: a norm behind the last block, which DeiT has and WeakTr's CAM network leaves out.
    """

    def __init__(
        self,
        num_tokens: int,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        resample: Resample = "bicubic",
        stem: Literal["patch", "conv"] = "patch",
        mimetic: bool = False,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        self.num_tokens, self.patch_size = num_tokens, patch_size
        self.out_channels, self.depth, self.heads = width, depth, heads
        self.resample: Resample = resample
        self.patch_embed = (
            nn.Conv2d(3, width, patch_size, stride=patch_size)
            if stem == "patch"
            else convolutional_stem(width, patch_size)
        )
        self.cls_token = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens + (image_size // patch_size) ** 2, width))
        norm = partial(nn.LayerNorm, eps=1e-6)
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, drop_path=rate, norm_layer=cast(type[nn.Module], norm))
            for rate in rates
        )
        self.norm = norm(width) if final_norm else None
        self._init_weights()
        if mimetic:
            self.attend_to_alike()

    def _init_weights(self) -> None:
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    @torch.no_grad()
    def attend_to_alike(self) -> None:
        """Let keys equal queries and positions be waves, as if the network had been pretrained.

        Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023. Attention between
        patches then is an affinity from the start, which refines CAMs; random weights have none.
        """
        width, side = self.out_channels, math.isqrt(self.pos_embed.shape[1] - self.num_tokens)
        for block in self.blocks:
            query, key, _ = cast(Attention, block.attn).qkv.weight.chunk(3)
            nn.init.orthogonal_(query)
            key.copy_(query)
        places = torch.arange(side)[:, None] * 10.0 ** (-torch.arange(width // 4) / (width // 4))
        waves = torch.cat([places.sin(), places.cos()], dim=1)  # side, width / 2
        rows = waves[:, None].expand(-1, side, -1)
        grid = torch.cat([rows, rows.transpose(0, 1)], dim=2)
        self.pos_embed[0, self.num_tokens :] = 0.5 * grid.flatten(0, 1)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of whole patches in an image of H, W pixels."""
        return size[0] // self.patch_size, size[1] // self.patch_size

    def positions(self, size: tuple[int, int]) -> Tensor:
        """(1, N, D) position embedding of an image of H, W pixels."""
        classes, patches = self.pos_embed.tensor_split([self.num_tokens], dim=1)
        return torch.cat([classes, patch_positions(patches, self.grid(size), size, self.resample)], dim=1)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, N, D) tokens before the first block and the grid (h, w), for images (B, 3, H, W).

        Trailing pixels that fill no patch are not seen.
        """
        size = (images.shape[-2], images.shape[-1])
        rows, columns = grid = self.grid(size)
        patches = self.patch_embed(images[..., : rows * self.patch_size, : columns * self.patch_size])
        tokens = torch.cat(
            [self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1
        )
        return tokens + self.positions(size), grid

    def split(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(B, N, D) tokens to the class tokens (B, C, D) and the patches' map (B, D, h, w)."""
        classes, patches = tokens.tensor_split([self.num_tokens], dim=1)
        return classes, patches.transpose(1, 2).unflatten(2, grid)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class tokens (B, C, D) and patches (B, D, h, w); attention is not kept, so timm's fast one runs."""
        tokens, grid = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        if self.norm is not None:
            tokens = self.norm(tokens)
        return self.split(tokens, grid)

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fit a state with one class token to this network's tokens and grid (spec `semples`, section 3.6).

        The token and its position are repeated for each class; positions of patches are interpolated; a final
        norm is left out where this network has none.
        """
        adapted = {
            name: tensor for name, tensor in state.items() if self.norm or not name.startswith("norm.")
        }
        token, positions = state.get("cls_token"), state.get("pos_embed")
        if token is None or positions is None or token.shape[1] != 1:
            return adapted
        classes, patches = positions.tensor_split([1], dim=1)
        wanted = self.pos_embed.shape[1] - self.num_tokens
        if patches.shape[1] != wanted:
            side = math.isqrt(wanted)
            stored = math.isqrt(patches.shape[1])
            planes = patches.reshape(1, stored, stored, -1).permute(0, 3, 1, 2)
            planes = F.interpolate(planes, size=(side, side), mode=self.resample, align_corners=False)
            patches = planes.flatten(2).transpose(1, 2)
        adapted["cls_token"] = token.repeat(1, self.num_tokens, 1)
        adapted["pos_embed"] = torch.cat([classes.repeat(1, self.num_tokens, 1), patches], dim=1)
        return adapted
