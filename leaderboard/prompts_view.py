"""The prompts that a run learned, as text: `harness show RUN --prompts`.

A train stage's network that learns prompts leaves `inspection.json` beside its checkpoint:
`{"prompts": {class name: [[nearest token, cosine], ...]}}`, one token per vector of the class's prompt, and
`"chance"`, the mean cosine that random vectors have with their nearest token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from harness.artifact import INSPECTION
from harness.errors import InputError
from leaderboard.runs import FoundRun


def prompts_view(found: FoundRun) -> Group:
    """A table per stage that learned prompts.

    Raises:
        InputError: no stage did, or its artifact is not there.
    """
    if found.work is None:
        raise InputError(
            f"{found.path} was copied out of its work folder, where the prompts are: name the run there"
        )
    tables = [
        _table(stage.name, content)
        for stage in found.record.stages
        if (content := _inspection(found.work / stage.artifact / "files" / INSPECTION)).get("prompts")
    ]
    if not tables:
        raise InputError(
            f"run '{found.record.run_id}' has no learned prompts: no stage of method "
            f"'{found.record.method}' learns any, or it has not finished, or its artifact was removed"
        )
    return Group(*tables)


def _inspection(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}): run the stage again") from error
    return content if isinstance(content, dict) and isinstance(content.get("prompts"), dict) else {}


def _table(stage: str, content: dict[str, Any]) -> Table:
    chance = content.get("chance")
    table = Table(
        "class",
        "nearest token of each vector, in order",
        "mean cosine",
        title=f"prompts learned by stage '{stage}'",
        caption=None
        if chance is None
        else f"Random vectors have a cosine of {chance:.2f} with their nearest token: "
        "a prompt that has no more does not resemble these tokens.",
    )
    table.columns[2].justify = "right"
    for name, vectors in content["prompts"].items():
        tokens = " ".join(str(token).strip() or "·" for token, _ in vectors)
        mean = sum(float(cosine) for _, cosine in vectors) / max(len(vectors), 1)
        table.add_row(name, tokens, f"{mean:.2f}")
    return table
