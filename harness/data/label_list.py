"""Image-level labels of many images in one text file: a line per image, `2007_000032 1 15`.

The numbers are labels as in masks (1 is the first class). Such a file is derived once, when a dataset is
prepared, so that training on labels that come from masks need not open a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.errors import InputError
from harness.files import atomic_file


def write_label_list(path: Path, labels: Iterable[tuple[str, Sequence[int]]]) -> None:
    """Write (image id, its labels, ascending) pairs in the order in which they come; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, "w") as file:
        file.writelines(" ".join([image_id, *map(str, found)]) + "\n" for image_id, found in labels)


def read_label_list(path: Path, num_classes: int) -> Mapping[str, list[int]]:
    """Read the class indices per image (label - 1), ascending.

    Raises:
        InputError: the file is missing or unreadable, a line holds something else, or an image has two lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(
            f"there is no {path}, from which image-level labels would come: `harness data prepare` derives "
            "it from the masks"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the labels {path} cannot be read ({error}): prepare them again") from error
    labels: dict[str, list[int]] = {}
    for number, line in enumerate(lines, start=1):
        image_id, *rest = line.split() or [""]
        found = sorted({int(text) - 1 for text in rest if text.isdecimal()} & set(range(num_classes)))
        if not image_id or len(found) != len(rest):
            raise InputError(
                f"line {number} of {path} is no image with labels from 1 to {num_classes} ({line!r}): delete "
                "the file and prepare it again"
            )
        if image_id in labels:
            raise InputError(f"{path} names image {image_id} twice: delete the file and prepare it again")
        labels[image_id] = found
    return labels
