"""The authors' VWE and VWL checkpoints in our layout (spec `vwe`, section 15)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.conversion import Conversion
from methods.modules.conversion import (
    account,
    expected_state,
    infer_classes,
    split_aliases,
    strip_module_prefix,
)
from methods.modules.resnet import infer_depth
from methods.vwe.encoder import init_codebook
from methods.vwe.model import VWE

ALIASES = ("stage1.", "stage2.", "stage3.", "stage4.", "backbone.", "newly_added.")
RENAMES = {
    "resnet": "backbone",
    "classifier": "classifier",
    "fc_a": "fc_a",
    "fc_b": "fc_b",
    "VWE.centroid": "codebook",
}


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released checkpoint onto `VWE`; without `VWE.centroid` it is one of VWL-M.

    VWL-M keeps its codebook in a separate file that CAMs do not need: the result holds a codebook as a fresh
    model has it, marked as not yet sampled from features.

    Raises:
        InputError: the depth or the classes cannot be told, a shape is wrong, or a copy differs from the
            tensor that it should equal.
    """
    first, dropped = split_aliases(strip_module_prefix(state), ALIASES)
    depth, classes = infer_depth(first), infer_classes(first)
    learned = "VWE.centroid" in first
    if learned:
        first["VWE.centroid"] = first["VWE.centroid"].flatten(1)
    k_words, channels = first["fc_b.weight"].shape[:2] if "fc_b.weight" in first else (256, 2048)

    def build() -> VWE:
        variant = "vwe" if learned else "vwl_memory"
        return VWE(classes, {"type": "StageResNet", "depth": depth}, variant=variant, k_words=k_words)

    conversion = account(first, RENAMES, expected_state(build), dropped)
    if learned:
        return conversion
    fresh = {"codebook": init_codebook(k_words, channels), "codebook_sampled": torch.tensor(False)}
    return Conversion(
        {**conversion.state, **fresh},
        conversion.dropped,
        conversion.unmapped,
        [name for name in conversion.missing if name not in fresh],
    )
