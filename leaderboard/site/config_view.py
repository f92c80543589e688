"""A run's config as lines of text, with what was overridden."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 88  # characters that a list or a small dict may take on one line


@dataclass(frozen=True)
class ConfigLine:
    """A line like `  lr: 0.1`.

    Attributes:
        indent: levels below the block that it belongs to.
        overridden: whether `--set` gave this value.
    """

    indent: int
    key: str
    value: str
    overridden: bool


@dataclass(frozen=True)
class ConfigBlock:
    """A part of the config: a stage, or what is not in stages."""

    name: str
    lines: tuple[ConfigLine, ...]

    @property
    def overridden(self) -> bool:
        """Whether `--set` changed something in it."""
        return any(line.overridden for line in self.lines)


def config_blocks(
    config: Mapping[str, Any], overrides: Sequence[str], order: Sequence[str] = ()
) -> list[ConfigBlock]:
    """The whole config: what is not in stages, then each stage.

    Args:
        config: resolved, as in a record.
        overrides: `path.to.key=value`, as in a record.
        order: names of stages as they are executed; others come after them.
    """
    changed = {override.partition("=")[0] for override in overrides}
    stages = config.get("stages")
    stages = stages if isinstance(stages, Mapping) else {}
    rest = {key: value for key, value in config.items() if key != "stages" or not stages}
    blocks = [ConfigBlock("method and data", tuple(_lines(rest, "", 0, changed)))] if rest else []
    for name in sorted(stages, key=lambda name: order.index(name) if name in order else len(order)):
        stage = stages[name]
        inner = stage if isinstance(stage, Mapping) else {"value": stage}
        blocks.append(ConfigBlock(str(name), tuple(_lines(inner, f"stages.{name}.", 0, changed))))
    return blocks


def in_one_line(value: Any) -> str:
    """A value as `0.1`, `name`, `[1, 2]` or `{a: 1}`."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_one_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(in_one_line(item) for item in value) + "]"
    return json.dumps(value)


def _lines(value: Mapping[str, Any], path: str, indent: int, changed: set[str]) -> Iterator[ConfigLine]:
    for key, item in value.items():
        place = f"{path}{key}"
        overridden = place in changed
        inside = any(other.startswith(f"{place}.") for other in changed)
        if isinstance(item, Mapping) and item and (inside or len(in_one_line(item)) > _WIDTH - 2 * indent):
            yield ConfigLine(indent, str(key), "", overridden)
            below = changed | {f"{place}.{name}" for name in item} if overridden else changed
            yield from _lines(item, f"{place}.", indent + 1, below)
        else:
            yield ConfigLine(indent, str(key), in_one_line(item), overridden)
