"""SBD's part of VOC's `train_aug`: its masks become palette PNGs, its lists are united with VOC's train.

The archive is read from front to back once, and masks are converted in worker processes as they come by;
nothing of it is unpacked to the disk.

Source: B. Hariharan et al., Semantic contours from inverse detectors, ICCV 2011; benchmark.tgz holds
`dataset/cls/<id>.mat`, MATLAB structures whose `GTcls.Segmentation` is an (H, W) uint8 mask with VOC's labels
and no border, and the lists `dataset/{train,val}.txt`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.archive import OnBytes, inside, members
from harness.data.matlab import read_uint8_field
from harness.data.palette import voc_palette, write_mask
from harness.errors import InputError
from harness.processes import map_unordered

_LISTS = ("train.txt", "val.txt")
_LARGEST_LABEL = 20

_worker: dict[str, Any] = {}


def convert_masks(
    archive: Path,
    folder: Path,
    leave_out: Collection[str],
    workers: int,
    progress: OnBytes,
    *,
    keep: bool = False,
) -> set[str]:
    """Write the masks of an SBD archive as PNGs into a folder.

    Args:
        archive: benchmark.tgz.
        folder: exists.
        leave_out: ids whose masks are not wanted.
        workers: processes that convert.
        progress: told how far the archive was read.
        keep: masks that are there are whole and right.

    Returns:
        The ids of SBD's two lists, train and val.

    Raises:
        InputError: the archive is damaged, lacks a list or the mask of a listed image, or holds a mask that
            is none.
    """
    lists: dict[str, set[str]] = {}
    converted: set[str] = set()

    def wanted() -> Iterator[tuple[str, bytes]]:
        for member in members(archive, progress):
            path = PurePosixPath(member.name)
            if path.parent.name == "dataset" and path.name in _LISTS:
                lists[path.name] = set(member.content().decode().split())
            elif path.parent.name == "cls" and path.suffix == ".mat" and path.stem not in leave_out:
                converted.add(path.stem)
                if not (keep and (folder / f"{path.stem}.png").exists()):
                    yield path.stem, member.content()

    for _ in map_unordered(_convert, wanted(), workers, _begin, (archive, folder)):
        pass
    for name in _LISTS:
        if name not in lists:
            raise InputError(f"the archive {archive} has no dataset/{name}: fetch SBD's benchmark.tgz again")
    ids = lists["train.txt"] | lists["val.txt"]
    if missing := sorted(ids - converted - set(leave_out)):
        raise InputError(
            f"the archive {archive} has no mask of the image {missing[0]}, which its lists name: fetch SBD's "
            "benchmark.tgz again"
        )
    for image_id in converted - ids:
        (folder / f"{image_id}.png").unlink()
    return ids


def decode_mask(content: bytes) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 labels of one of SBD's MATLAB files.

    Raises:
        ValueError: it is no such file, or holds a label that is no class of VOC.
    """
    mask = read_uint8_field(content, "GTcls", "Segmentation")
    if mask.max(initial=0) > _LARGEST_LABEL:
        raise ValueError(f"it holds label {mask.max()}, but labels are 0 to {_LARGEST_LABEL}")
    return mask


def _begin(archive: Path, folder: Path) -> None:
    _worker.update(archive=archive, folder=folder, palette=voc_palette())


def _convert(item: tuple[str, bytes]) -> None:
    image_id, content = item
    try:
        mask = decode_mask(content)
    except ValueError as error:
        raise InputError(
            f"the archive {_worker['archive']} holds cls/{image_id}.mat, which is no mask ({error}): fetch "
            "SBD's benchmark.tgz again"
        ) from error
    write_mask(inside(_worker["folder"], f"{image_id}.png"), mask, _worker["palette"])
