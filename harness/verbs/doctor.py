"""`harness doctor`: is this machine fit, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.verbs.terminal import WorkDir, console

_COLOURS = {"ok": "green", "absent": "dim", "warning": "yellow", "problem": "red"}


def doctor(
    work_dir: WorkDir = Path("work"),
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Folder of a dataset to look at, as in voc=DIR; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at engine, driver, GPU, disk, memory, data, weights and clock; exit status 1 for a problem."""
    import dataclasses
    import sys
    from json import dumps

    from rich.table import Table
    from rich.text import Text

    from harness.doctor import examine

    folders = dict(_named_folder(text) for text in data or [])
    findings = list(examine(work_dir, folders))
    if json:
        sys.stdout.write(dumps([dataclasses.asdict(finding) for finding in findings], indent=1) + "\n")
    else:
        table = Table("what", "state", "found")
        table.columns[2].overflow = "fold"
        for finding in findings:
            state = Text(finding.state, style=_COLOURS[finding.state])
            table.add_row(finding.subject, state, Text(finding.found))
        terminal = console()
        terminal.print(table)
        for title, states in (("to mend:", ("problem", "warning")), ("if you want it:", ("absent",))):
            # Below the table: commands are copied, and a cell would cut them.
            lines = [f"  {f.subject}: {f.mend}" for f in findings if f.state in states and f.mend]
            if lines:
                terminal.print("\n".join([title, *lines]), markup=False, highlight=False, soft_wrap=True)
        problems, warnings = (sum(f.state == state for f in findings) for state in ("problem", "warning"))
        terminal.print(f"problems: {problems}, warnings: {warnings}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise InputError(f"--data {text!r} is not of the form NAME=FOLDER, as in voc=/data/VOCdevkit")
    return name, Path(folder).expanduser()
