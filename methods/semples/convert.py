"""Converters of what SemPLeS starts from: CLIP, prompts, and the Swin of its second stage.

The networks are imported where a file is converted: OpenCLIP and transformers take seconds, and every other
method imports this module, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from harness.conversion import Conversion
from methods.modules.conversion import account, expected_state

NOT_WEIGHTS = "size of the towers, which their shapes tell"
SIZES = ("input_resolution", "context_length", "vocab_size")
IMAGENET_HEAD = "ImageNet classifier, which dense networks do not use"
STAGE_NORMS = "hidden_states_norms."
INDICES = "relative_position_index"
RENAMED = {  # in this order
    "attention.self.query": "attention.q_proj",
    "attention.self.key": "attention.k_proj",
    "attention.self.value": "attention.v_proj",
    "attention.self.relative_position_bias_table": (
        "attention.relative_position_bias.relative_position_bias_table"
    ),
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def convert_openai(state: Mapping[str, Tensor]) -> Conversion:
    """Map a CLIP of OpenAI with a ViT onto `CLIPTowers`; its sizes are the file's.

    Raises:
        InputError: a tensor has another shape than a tower of these sizes has.
    """
    from methods.semples.clip import CLIPTowers

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


def convert_prompts(state: Mapping[str, Tensor]) -> Conversion:
    """Map the released `btp.pth` onto `LearnedPrompts`; all its sizes are the file's."""
    unmapped = [name for name in state if name != "prompts"]
    if "prompts" not in state:
        return Conversion({}, {}, unmapped, ["prompts"])
    return Conversion({"prompts": state["prompts"]}, {}, unmapped)


def convert_swin(state: Mapping[str, Tensor]) -> Conversion:
    """Map a published Swin classifier of the library transformers onto the backbone of a `Mask2Former`.

    Files have the names that the library had before its version 5. The norms between backbone and pixel
    decoder are not in them and start anew.

    Raises:
        InputError: a tensor has another shape than Swin-L has.
    """
    from methods.semples.mask2former import Mask2Former

    dropped = {name: IMAGENET_HEAD for name in state if name.startswith("classifier.")}
    dropped |= {name: "computed from the window" for name in state if name.endswith(INDICES)}
    theirs = {_new_name(name): tensor for name, tensor in state.items() if name not in dropped}
    expected = {
        name: tensor
        for name, tensor in expected_state(lambda: Mask2Former(21).backbone).items()
        if not name.startswith(STAGE_NORMS) and not name.endswith(INDICES)
    }
    return account(theirs, {"swin": "swin"}, expected, dropped)


def _new_name(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name
