"""Network states of the golden cases of SemPLeS, whose overrides have rules of their own."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.golden.case import Case, fill_parameter, rng


def semples_state(case: Case, part: str = "network") -> dict[str, torch.Tensor]:
    """The state of the case's `network` or `clip` under its released names.

    Names of CLIP's tensors carry the prefix `clip:` where a case holds both; their streams do not.
    """
    overrides = (case.config.get("state_overrides") or {}).get(part, {})
    shapes = case.raw.get("state") or {}
    prefixed = any(name.startswith("clip:") for name in shapes)
    state = {}
    for name, shape in shapes.items():
        if prefixed and name.startswith("clip:") != (part == "clip"):
            continue
        plain = name.removeprefix("clip:")
        state[plain] = _filled(plain, shape, overrides.get(plain))
    return state


def _filled(name: str, shape: list[int], override: dict[str, float | str] | None) -> torch.Tensor:
    if override is None:
        return fill_parameter(name, shape)
    rule, value = override["rule"], override.get("value")
    if rule == "constant":
        return torch.full(shape, float(value))
    z = rng(name).standard_normal(shape).astype("float32")
    if rule == "scaled":
        return torch.from_numpy(np.asarray(np.float32(value) * z, dtype="float32"))
    if rule == "abs":
        return torch.from_numpy(np.abs(z) / np.float32(math.sqrt(z.size / shape[0])))
    raise ValueError(f"unknown rule {rule!r} for {name!r}")
