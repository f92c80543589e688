"""Texts for CLIP: token ids, the names of a dataset's classes, and what learned vectors are close to.

The names and the template are data, `classes_<dataset>.yaml` beside this file (spec `semples`, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import open_clip
import torch
import torch.nn.functional as F
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from harness.errors import InputError, nearest

CONTEXT = 77
VOCABULARY = 49408
START, END = 49406, 49407
PREFIX = (320, 1125, 539)  # "a photo of"
INNER_STOP = 13  # "." inside a word, which the release puts behind learned vectors; texts end in 269


class ClassTexts(BaseModel):
    """What CLIP is told about a dataset's classes.

    Attributes:
        template: a sentence with `{name}`.
        names: per channel of the network.
        background: text for no class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: Annotated[str, Field(pattern=r"\{name\}")]
    names: Annotated[tuple[str, ...], Field(min_length=1)]
    background: str = "background"

    def sentences(self) -> list[str]:
        """One sentence per channel."""
        return [self.template.format(name=name) for name in self.names]


@cache
def class_texts(dataset: str) -> ClassTexts:
    """Texts of a dataset by name: `voc`, `coco90` or `shapes`.

    Raises:
        InputError: there is no such file, or it is not as `ClassTexts` wants it.
    """
    path = Path(__file__).parent / f"classes_{dataset}.yaml"
    try:
        return ClassTexts.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = sorted(file.stem.removeprefix("classes_") for file in path.parent.glob("classes_*.yaml"))
        raise InputError(
            f"there are no class texts '{dataset}'{nearest(dataset, known)}: add {path.name} to "
            f"methods/semples; there are {', '.join(known)}"
        ) from None
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"{path} is no list of class texts: {' '.join(str(error).split())}") from error


@cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


def encode(text: str) -> list[int]:
    """Ids of a text without start and end."""
    return list(_tokenizer().encode(text))


def tokenize(texts: Sequence[str], context_length: int = CONTEXT) -> Tensor:
    """(n, context_length) int64: start, ids, end, zeros.

    Raises:
        InputError: a text is too long.
    """
    rows = [[START, *encode(text), END] for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > context_length:
            raise InputError(
                f"the text '{text[:60]}' has {len(row)} tokens with its ends, and CLIP takes "
                f"{context_length}: shorten it"
            )
    return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])


def nearest_tokens(vectors: Tensor, embedding: Tensor, count: int = 1) -> list[list[tuple[str, float]]]:
    """Tokens whose embeddings have the highest cosine with vectors.

    Args:
        vectors: (n, W).
        embedding: (VOCABULARY, W), of CLIP's text tower.
        count: tokens per vector.

    Returns:
        Per vector the tokens as text with their cosines, best first; a token that ends a word ends in a
        blank.
    """
    cosine = F.normalize(vectors, dim=-1) @ F.normalize(embedding, dim=-1).T
    values, ids = cosine.topk(count, dim=-1)
    decode = _tokenizer().decode
    return [
        [(decode([token]), value) for token, value in zip(row, best, strict=True)]
        for row, best in zip(ids.tolist(), values.tolist(), strict=True)
    ]


def chance_of_nearest(embedding: Tensor, draws: int = 256) -> float:
    """Mean cosine of a random direction and the nearest of the embeddings (VOCABULARY, W)."""
    vectors = torch.randn(draws, embedding.shape[1], generator=torch.Generator().manual_seed(0))
    vectors = F.normalize(vectors.to(embedding), dim=-1)
    return float((vectors @ F.normalize(embedding, dim=-1).T).amax(-1).mean())
