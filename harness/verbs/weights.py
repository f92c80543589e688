"""`harness weights`: initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs.terminal import console, require_folder_of

app = typer.Typer(no_args_is_help=True, help="Initial weights: list, download, convert.")


@app.command("list")
def list_() -> None:
    """List the weights that methods start from, and which are there."""
    from harness.show import weights_table

    console().print(weights_table())


@app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="Name in methods/weights.yaml.")]) -> None:
    """Download weights into the cache; a broken download is resumed."""
    from harness.show import fetch_with_progress

    path = fetch_with_progress(name, console())
    console().print(str(path), markup=False)


@app.command("convert")
def convert(
    layout: Annotated[str, typer.Argument(help="Layout of the authors' file, as in methods/weights.yaml.")],
    source: Annotated[Path, typer.Argument(help="The authors' checkpoint.")],
    target: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Turn an authors' checkpoint into ours, strictly; says what did not map."""
    from harness.show import convert_with_report

    require_folder_of(target)
    convert_with_report(layout, source, target, console())
