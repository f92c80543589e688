"""The `harness` command: its verbs, and what becomes of their errors."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.verbs import data, image, results, weights
from harness.verbs.check import check
from harness.verbs.compare import compare
from harness.verbs.doctor import doctor
from harness.verbs.evaluate import evaluate
from harness.verbs.leaderboard import leaderboard
from harness.verbs.run import run
from harness.verbs.show import show
from harness.verbs.submit import submit
from harness.verbs.sweep import sweep
from harness.verbs.terminal import console, fail, require_folder_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, infer and evaluate weakly supervised semantic segmentation methods under one protocol.",
)
app.command()(run)
app.command()(sweep)
app.command()(evaluate)
app.command()(leaderboard)
app.command()(show)
app.command()(compare)
app.command()(check)
app.command()(submit)
app.command()(doctor)


@app.command()
def methods() -> None:
    """List the methods and their configs."""
    from rich.table import Table

    from harness.config import list_configs, list_methods

    table = Table("method", "configs")
    for name in list_methods():
        if configs := list_configs(name):
            table.add_row(name, ", ".join(configs))
    console().print(table)


@app.command()
def schema(output: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Write the JSON Schema of record.json."""
    from harness.record import export_schema

    require_folder_of(output)
    export_schema(output)


app.add_typer(data.app, name="data")
app.add_typer(image.app, name="image")
app.add_typer(results.app, name="results")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Entry point: wrong input becomes one sentence and exit status 2."""
    try:
        app()
    except InputError as error:
        fail(str(error))
        sys.exit(2)
    except OSError as error:
        sys.exit(_report_os_error(error))


def _report_os_error(error: OSError) -> int:
    """Full disks and unwritable folders are the user's to mend; anything else is a bug and raised."""
    where = error.filename or "the work folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fail(f"the disk is full ({where}): free some space and run the same command again")
        return 2
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fail(f"no permission to write {where}: choose another folder or change its permissions")
        return 2
    raise error


if __name__ == "__main__":
    main()
