"""`harness check`: new runs against a baseline, and baselines from runs."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InputError
from harness.verbs.terminal import WorkDir, console, require_folder_of, warn

if TYPE_CHECKING:
    from harness.record import RunRecord
    from leaderboard.baseline import Rule


def check(
    baseline: Annotated[Path, typer.Option(help="Baseline file to check against, or to write.")],
    runs: Annotated[
        list[str],
        typer.Option("--run", help="A run: id, its beginning, folder or record.json; repeatable."),
    ],
    work_dir: WorkDir = Path("work"),
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline from these runs instead of checking them.")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="With --update: runs with uncommitted changes, too.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit XML report to this file.")] = None,
    github: Annotated[
        bool | None,
        typer.Option("--github/--no-github", help="GitHub annotations; by default inside GitHub Actions."),
    ] = None,
) -> None:
    """Check runs against a baseline: exit status 1 where a number, time or memory left its band."""
    from leaderboard.check_output import workflow_command

    annotate = os.environ.get("GITHUB_ACTIONS") == "true" if github is None else github
    try:
        if update and junit is not None:
            raise InputError("--junit reports a check, and --update makes none: leave one of them away")
        records = _records(runs, work_dir)
        if update:
            _update(baseline, records, allow_dirty)
            return
        failed = _check(baseline, records, junit, annotate)
    except InputError as error:
        if annotate:
            typer.echo(workflow_command("error", "regression check", str(error)))
        raise
    if failed:
        raise typer.Exit(1)


def _check(path: Path, records: Sequence[RunRecord], junit: Path | None, annotate: bool) -> bool:
    from harness.files import atomic_file
    from leaderboard import check_output
    from leaderboard.baseline import read_baseline
    from leaderboard.check import check

    if junit is not None:
        require_folder_of(junit)
    baseline = read_baseline(path)
    outcome = check(baseline, records)
    console().print(check_output.check_view(outcome, baseline))
    if junit is not None:
        with atomic_file(junit) as file:
            file.write(check_output.junit_xml(outcome, baseline))
    if annotate:
        for line in check_output.github_annotations(outcome, baseline):
            typer.echo(line)
    return outcome.failed


def _update(path: Path, records: Sequence[RunRecord], allow_dirty: bool) -> None:
    from datetime import UTC, datetime

    from leaderboard.baseline_update import make_baseline

    require_folder_of(path)
    made = make_baseline(
        records, made_by=_user(), made_at=datetime.now(UTC), rule=_rule(path), allow_dirty=allow_dirty
    )
    if made.provenance.dirty or made.provenance.commit is None:
        warn("the baseline belongs to no commit; nobody else can make these runs again")
    made.write(path)
    console().print(f"{path}: baseline from {len(records)} runs", markup=False, highlight=False)


def _rule(path: Path) -> Rule:
    """The rule of the baseline that is to be replaced, since somebody may have set it; else the default."""
    from leaderboard.baseline import Rule, read_baseline

    if not path.exists():
        return Rule()
    try:
        return read_baseline(path).rule
    except InputError as error:
        warn(f"{error}; its rule is replaced by the default one")
        return Rule()


def _user() -> str:
    """Who makes a baseline: the name that git puts on commits, or the login name."""
    name = ""
    if shutil.which("git"):
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
        name = done.stdout.strip()
    return name or getpass.getuser()


def _records(names: Sequence[str], work: Path) -> list[RunRecord]:
    """The runs' records, each run once.

    Raises:
        InputError: a run is not there or named twice.
    """
    from leaderboard.runs import find_run

    records = [find_run(name, work).record for name in names]
    ids = [record.run_id for record in records]
    if twice := next((run_id for run_id in ids if ids.count(run_id) > 1), None):
        raise InputError(f"run {twice} is named twice: name each run once")
    return records
