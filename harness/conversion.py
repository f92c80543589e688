"""What a converter of an authors' checkpoint returns, and the converters by name.

A converter is ``(state: Mapping[str, Tensor]) -> Conversion``; converters live beside the methods, this type
lives here so that the engine can judge their result without knowing any method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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

CONVERTERS: dict[str, Converter] = {}
"""Converters by layout name; the module `methods.converters` fills it when it is imported."""
