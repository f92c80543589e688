"""Golden cases of SemPLeS: CLIP's towers and tokens, similarities and the terms made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods.semples.clip import CLIPTowers
from methods.semples.convert import convert_openai, tower_sizes
from methods.semples.losses import attract, cosine, repel, repel_by_log
from methods.semples.text import (
    END,
    INNER_STOP,
    PREFIX,
    START,
    class_texts,
    encode,
    tokenize,
)
from tests.golden.case import Case, Unavailable, adapter
from tests.golden.semples_state import semples_state

TEXTS = {"voc": "voc", "coco": "coco90"}


def clip_towers(case: Case, state: Mapping[str, Tensor] | None = None) -> CLIPTowers:
    """The case's CLIP through the converter of released files."""
    conversion = convert_openai(semples_state(case, "clip") if state is None else state)
    assert conversion.complete
    sizes = tower_sizes(conversion.state)
    config = case.config["clip"]
    assert (sizes["text_heads"], sizes["vision_layers"], sizes["image_size"]) == (
        config["transformer_heads"],
        config["vision_layers"],
        config["image_resolution"],
    )
    clip = CLIPTowers(**sizes)
    clip.load_state_dict(conversion.state)
    return clip.requires_grad_(False).eval()


@adapter("clip.small.encoders", "clip.small.encoders_length10", "clip.vitb32.encoders")
@torch.no_grad()
def encoders(case: Case) -> dict[str, Any]:
    clip, image = clip_towers(case), torch.from_numpy(case.arrays["image"])
    found = {
        "image_features": clip.image_features(image),
        "text_features": clip.text_features(tokenize(list(case.arrays["texts"]))),
        "btp_features": clip.prompt_features(torch.from_numpy(case.arrays["prompts"])),
    }
    return found | ({"image_features_all": clip.patch_features(image)} if case.config["all_tokens"] else {})


def ids(text: str) -> list[int]:
    """Start to end token."""
    row = tokenize([text])[0]
    return row[: int(row.argmax()) + 1].tolist()


@adapter("clip.tokens.voc", "clip.tokens.coco")
def name_tokens(case: Case) -> dict[str, Any]:
    sentences = class_texts(TEXTS[case.name.rsplit(".", 1)[1]]).sentences()
    given = case.raw["inputs"]["texts"]["value"]
    assert set(given) <= set(sentences)
    return {text: ids(text) for text in given}


@adapter("clip.tokens.free_text")
def text_tokens(case: Case) -> dict[str, Any]:
    texts = case.raw["inputs"]["texts"]["value"]
    return {f"tokens_{number}": ids(text) for number, text in enumerate(texts)}


@adapter("clip.tokens.template")
def template_tokens(case: Case) -> dict[str, Any]:
    assert encode("a photo of ") == list(PREFIX)
    return {
        "<|startoftext|>": [START],
        "a photo of ": list(PREFIX),
        ".": [INNER_STOP],
        "<|endoftext|>": [END],
        "padded_shape": list(tokenize(["."]).shape),
    }


@adapter("clip.to_text", "clip.to_text_coco")
def to_text(case: Case) -> dict[str, Any]:
    texts = class_texts(TEXTS[case.config["dataset"]])
    sentences = texts.sentences()
    rows = case.tensors["labels"]
    return {"texts": [sentences[int(row.argmax())] if row.any() else texts.background for row in rows]}


@adapter("clip.similarities.voc", "clip.similarities.coco")
@torch.no_grad()
def similarities(case: Case) -> dict[str, Any]:
    clip, image = clip_towers(case), case.tensors["image"]
    classes = case.tensors["labels"].argmax(1)
    sentences = class_texts(TEXTS[case.config["dataset"]]).sentences()
    texts = clip.text_features(tokenize(sentences))[classes]
    prompts = clip.prompt_features(case.tensors["prompts"][classes])
    images, patches = clip.image_features(image), clip.patch_features(image)
    side = round(patches.shape[1] ** 0.5)
    by_patch = cosine(patches, prompts[:, None]).unflatten(1, (1, side, side))
    return {
        "image_label_similarity": cosine(images, texts)[:, None, None],
        "image_prompt_similarity": cosine(images, prompts)[:, None, None],
        "label_prompt_similarity": cosine(texts, prompts)[:, None, None],
        "local_image_prompt_similarity": by_patch.amax((2, 3))[..., None],
        "prompt_similarity_map": by_patch,
    }


@adapter("loss.similarity_terms")
def similarity_terms(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, term in (("sim_max", attract), ("sim_min", repel), ("log_label_term", repel_by_log)):
        similarity = case.tensors["similarity"].clone().requires_grad_()
        found[name] = term(similarity)
        found[name].backward()
        found[f"{name}_grad"] = similarity.grad
    return found


@adapter("loss.background_suppression")
def background_suppression(case: Case) -> dict[str, Any]:
    raise Unavailable("neither the case nor the specification says which texts the background prompts are")
