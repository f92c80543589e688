"""Steps that converters of authors' checkpoints share; every name is accounted for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.conversion import Conversion
from harness.errors import InputError

SECOND_NAME = "second name of an equal tensor"


def strip_module_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the `module.` that DataParallel puts before every name."""
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def split_aliases(
    state: Mapping[str, Tensor], aliases: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Separate second names of the same tensor from the first names.

    The released classes register their layers two or three times. A copy is dropped only when it equals a
    first-name tensor with the same last component (`weight`, `running_mean`, ...).

    Args:
        state: the checkpoint.
        aliases: prefixes of the second names, such as `stage1.` and `newly_added.`.

    Returns:
        The tensors under their first names, and per dropped name the reason.

    Raises:
        InputError: a copy equals no first-name tensor.
    """
    prefixes = tuple(aliases)
    first = {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}
    candidates: dict[tuple[str, torch.Size], list[str]] = defaultdict(list)
    for name, tensor in first.items():
        candidates[_leaf(name), tensor.shape].append(name)
    dropped = {}
    for name, tensor in state.items():
        if name in first:
            continue
        if not any(_equal(tensor, first[other]) for other in candidates[_leaf(name), tensor.shape]):
            raise InputError(
                f"'{name}' of the checkpoint should be a copy of another of its tensors and equals none; "
                "the file is damaged or was edited, so fetch it again."
            )
        dropped[name] = SECOND_NAME
    return first, dropped


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b)


def infer_classes(state: Mapping[str, Tensor]) -> int:
    """Foreground classes of a CAM checkpoint, from its `classifier.weight`.

    Raises:
        InputError: there is no `classifier.weight`.
    """
    if "classifier.weight" not in state:
        raise InputError(
            "The checkpoint holds no 'classifier.weight', so it is no CAM network; "
            "check that the file and the layout belong together."
        )
    return state["classifier.weight"].shape[0]


def expected_state(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Names and shapes of the model that `build` makes, on the meta device (no memory, no initialisation)."""
    with torch.device("meta"):
        return dict(build().state_dict())


def account(
    state: Mapping[str, Tensor],
    renames: Mapping[str, str],
    expected: Mapping[str, Tensor],
    dropped: Mapping[str, str] | None = None,
) -> Conversion:
    """Rename by prefix and compare the result with the names and shapes that our model has.

    Args:
        state: the checkpoint under its first names.
        renames: their prefix (whole components) to ours.
        expected: our state dict, for names and shapes.
        dropped: what was already left out, with reasons.

    Raises:
        InputError: a tensor has another shape than ours of that name.
    """
    ours: dict[str, Tensor] = {}
    unmapped: list[str] = []
    for name, tensor in state.items():
        target = _rename(name, renames)
        if target is None or target not in expected:
            unmapped.append(name)
            continue
        if tensor.shape != expected[target].shape:
            raise InputError(
                f"'{name}' of the checkpoint has shape {tuple(tensor.shape)} where '{target}' needs "
                f"{tuple(expected[target].shape)}; check that the file and the layout belong together."
            )
        ours[target] = tensor
    missing = [name for name in expected if name not in ours]
    return Conversion(ours, dict(dropped or {}), unmapped, missing)


def _rename(name: str, renames: Mapping[str, str]) -> str | None:
    for theirs, our_prefix in renames.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return our_prefix + name.removeprefix(theirs)
    return None
