"""Visual words: assignment of positions to a codebook, and the memory-bank codebook.

Sources: Ru, Du, Wu, "Learning Visual Words for Weakly-Supervised Semantic Segmentation", IJCAI 2021; Ru, Du,
Zhan, Wu, IJCV 2022 (VWL); spec `vwe`, sections 2.3 and 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, broadcast
from torch import Tensor

RHO = 1e-3  # weight of a batch in the moving average of the memory bank
COUNT_EPS = 1e-4  # added to the number of members of a word


@dataclass(frozen=True)
class WordAssignment:
    """Words of a feature map.

    Attributes:
        soft: (N, K, h, w), softmax over the words; carries gradient to the codebook only.
        histogram: (N, K, 1, 1), sum of `soft` over the positions (not the mean).
        index: (N, h, w) int64, the most similar word.
        labels: (N, K) float32, 1 for the words that are some position's most similar one.
    """

    soft: Tensor
    histogram: Tensor
    index: Tensor
    labels: Tensor


def init_codebook(k_words: int, channels: int) -> Tensor:
    """(K, D) codebook, Kaiming normal with a = sqrt(5): standard deviation sqrt(1/3) / sqrt(D)."""
    codebook = torch.empty(k_words, channels)
    torch.nn.init.kaiming_normal_(codebook, a=math.sqrt(5))
    return codebook


def assign_words(features: Tensor, codebook: Tensor, tau: float = 1.0) -> WordAssignment:
    """Assign every position to the words by cosine similarity.

    Args:
        features: (N, D, h, w); no gradient flows into it.
        codebook: (K, D).
        tau: factor (not divisor) of the similarities in the softmax.
    """
    features = features.detach()
    words = F.normalize(codebook, dim=1, eps=1e-12)
    norm = features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    # Dividing the K similarities instead of the D features spares a second copy of the feature map.
    similarity = F.conv2d(features, words[:, :, None, None]) / norm
    soft = F.softmax(tau * similarity, dim=1)
    # Softmax is monotone, so the arg-max over the similarities is that over the assignment.
    index = similarity.detach().argmax(dim=1)
    labels = features.new_zeros(features.shape[0], codebook.shape[0])
    labels.scatter_(1, index.flatten(1), 1.0)
    return WordAssignment(soft, soft.sum(dim=(2, 3), keepdim=True), index, labels)


@torch.no_grad()
def word_means(features: Tensor, index: Tensor, k_words: int) -> tuple[Tensor, Tensor]:
    """Mean raw feature (K, D) and number of members (K,) int64 of every word in the batch.

    A word without members has mean 0. Distributed training sums over all processes.

    Args:
        features: (N, D, h, w).
        index: (N, h, w) int64, the word of each position.
        k_words: K.
    """
    flat, words = _positions(features), index.flatten()
    sums = flat.new_zeros(k_words, flat.shape[1]).index_add_(0, words, flat)
    counts = torch.bincount(words, minlength=k_words)
    all_reduce(sums)
    all_reduce(counts)
    return sums / (counts[:, None] + COUNT_EPS), counts


@torch.no_grad()
def update_codebook(codebook: Tensor, features: Tensor, index: Tensor, rho: float = RHO) -> Tensor:
    """Moving average of a memory-bank codebook (K, D) with the word means of a batch; see `word_means`."""
    means, _ = word_means(features, index, codebook.shape[0])
    return rho * means + (1 - rho) * codebook


@torch.no_grad()
def sample_codebook(features: Tensor, k_words: int) -> Tensor:
    """(K, D) feature vectors drawn with replacement, by torch's CPU generator, from the batch's positions."""
    flat = _positions(features)
    sample = flat[torch.randint(flat.shape[0], (k_words,)).to(flat.device)]
    broadcast(sample)
    return sample


def _positions(features: Tensor) -> Tensor:
    """(N, D, h, w) to (N*h*w, D)."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
