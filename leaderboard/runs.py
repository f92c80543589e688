"""A run by what a user calls it: its id, the beginning of it, its folder or its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError, nearest
from harness.record import RunRecord, read_record

_LISTED = 5  # runs that an error names


@dataclass(frozen=True)
class FoundRun:
    """A run and where it is.

    Attributes:
        record: what it says of itself.
        path: its `record.json`.
    """

    record: RunRecord
    path: Path

    @property
    def folder(self) -> Path:
        """The run's folder, with its logs."""
        return self.path.parent

    @property
    def work(self) -> Path | None:
        """The work folder with the artifacts; None where the record was copied out of one."""
        in_place = self.folder.parent.name == "runs" and self.folder.name == self.record.run_id
        return self.folder.parent.parent if in_place else None


def find_run(name: str, work: Path) -> FoundRun:
    """Find a run.

    Args:
        name: a `record.json`, the folder of one, a run id, or the beginning of one that no other run has.
        work: work folder that ids are looked up in.

    Raises:
        InputError: there is no such run, several begin so, or its record cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        path = path / "record.json"
        if not path.is_file():
            raise InputError(
                f"the folder {name} has no record.json: name a run's folder, such as {work}/runs/ID"
            )
    if path.is_file():
        return FoundRun(read_record(path), path)
    ids = sorted(record.parent.name for record in work.glob("runs/*/record.json"))
    if not ids:
        raise InputError(f"there is no run '{name}': {work / 'runs'} holds no records (--work-dir)")
    found = [name] if name in ids else [run_id for run_id in ids if run_id.startswith(name)]
    if len(found) > 1:
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise InputError(
            f"{len(found)} runs begin with '{name}': {', '.join(found[:_LISTED])}{more}; give more of the id"
        )
    if not found:
        hint = nearest(name, ids) or f"; the latest is {ids[-1]}"
        raise InputError(f"there is no run '{name}' in {work / 'runs'}{hint}")
    path = work / "runs" / found[0] / "record.json"
    return FoundRun(read_record(path), path)
