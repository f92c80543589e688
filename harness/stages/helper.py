"""A process that helps with a stage: `python -m harness.stages.helper FOLDER/stage.json RANK PORT PARENT`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.artifact import Artifact
from harness.processes import die_with_parent
from harness.progress import ProgressWriter
from harness.stage import StageContext, read_request, reported
from harness.stages.team import helper_folder, leave_result


def main(arguments: Sequence[str]) -> int:
    """Do the part of a rank; returns the exit status, as the stage's own process does."""
    path, rank, port, parent = Path(arguments[0]), int(arguments[1]), int(arguments[2]), int(arguments[3])
    die_with_parent(parent)
    request = read_request(path)
    artifact = Artifact(path.parent)
    folder = helper_folder(artifact, rank)
    context = StageContext(request, artifact, ProgressWriter(folder), rank, port)

    def work() -> None:
        leave_result(context, importlib.import_module(f"harness.stages.{request.type}").run(context))

    return reported(work, folder)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as the stage's own process
