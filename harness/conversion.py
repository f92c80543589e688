"""Turning an authors' checkpoint into ours: what a converter returns, and the file around it.

A converter is ``(state: Mapping[str, Tensor]) -> Conversion``; converters live beside the methods, this type
lives here so that the engine can judge their result without knowing any method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.files import atomic_file
from harness.weights import load_state

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Conversion:
    """A foreign state dict in our layout, with an account of every name that did not become part of it.

    Args:
        state: our parameter and buffer names with their tensors.
        dropped: foreign names left out on purpose, each with the reason ("alias of layer1.0.conv1.weight").
        unmapped: foreign names that the converter does not know.
        missing: our names that the checkpoint should have held and did not.
    """

    state: dict[str, Tensor]
    dropped: dict[str, str] = field(default_factory=dict)
    unmapped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every foreign name is accounted for and no name of ours is missing."""
        return not self.unmapped and not self.missing


Converter = Callable[[Mapping[str, "Tensor"]], Conversion]


def convert_file(
    layout: str, converter: Converter, source: Path, target: Path, *, report_only: bool = False
) -> Conversion:
    """Convert a checkpoint file and write the result as a plain state dict, if nothing is left over.

    Args:
        layout: name of the converter, for messages.
        converter: turns the file's names into ours.
        source: the authors' file; read without running anything in it.
        target: file to write; only replaced by a whole one.
        report_only: convert and return the account, but neither judge it nor write.

    Returns:
        What the converter made of the file.

    Raises:
        InputError: unreadable source, names that did not map, or a target that cannot be written.
    """
    conversion = converter(load_state(source))
    if report_only:
        return conversion
    if not conversion.complete:
        raise InputError(
            f"{source} does not fit the layout '{layout}': {_shortfall(conversion)}; nothing was written"
        )
    if source.resolve() == target.resolve():
        raise InputError(f"{target} would replace the file it is made from: choose another name")
    import torch

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as file:
            # A tensor may be a view into a larger storage, which would be written whole.
            torch.save({name: tensor.clone() for name, tensor in conversion.state.items()}, file)
    except OSError as error:
        raise InputError(f"cannot write the converted checkpoint {target}: {error.strerror}") from error
    return conversion


def _shortfall(conversion: Conversion) -> str:
    """What did not map, in words."""
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for names, kind in (
            (conversion.unmapped, "of its tensors are unknown"),
            (conversion.missing, "of ours are not in it"),
        )
        if names
    ]
    return " and ".join(parts)

CONVERTERS: dict[str, Converter] = {}
"""Converters by layout name; the module `methods.converters` fills it when it is imported."""
