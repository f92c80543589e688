"""`harness doctor`: what of a machine would make runs fail, and the command that mends it.

Each check looks at one thing, changes nothing, and answers with a finding. What a machine need not have (a
GPU, Docker, a dataset) is no problem when it is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.doctor.finding import Finding


def examine(work: Path, data: Mapping[str, Path]) -> Iterator[Finding]:
    """All checks, one after the other.

    Args:
        work: the work folder; it need not be there yet.
        data: folders of datasets by name.
    """
    from harness.doctor import gpu, machine, material, software

    client = None
    yield software.check_packages()
    engine, client = software.check_engine()
    yield engine
    if client is not None:
        yield software.check_images(client)
    yield from gpu.check_gpus()
    yield gpu.check_toolkit(client)
    yield machine.check_work_folder(work)
    yield from machine.check_disks(work, client)
    yield machine.check_shared_memory()
    yield machine.check_memory()
    yield machine.check_open_files()
    yield machine.check_clock(work)
    yield from material.check_datasets(data)
    yield material.check_weights()


__all__ = ["Finding", "examine"]
