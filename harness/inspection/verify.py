"""What is wrong with a dataset: all of it, not only the first bad file as the preflight check of a run.

A check has *problems*, which make numbers wrong or impossible to compare, and *notes*, which do not: colours
of a palette, an EXIF orientation (readers here take the stored pixels, which masks fit), gray images where
the official ones have colours, lists and masks that may be absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.data.dataset import Dataset
from harness.data.fingerprint import OnProgress
from harness.data.image_file import ImageFact
from harness.errors import InputError
from harness.inspection.check import Check, expected_ids, sentences, whole_count
from harness.inspection.list_checks import check_list
from harness.inspection.mask_checks import check_derived_labels, check_masks


def verify_split(
    dataset: Dataset,
    split: str,
    *,
    reference: Path | None = None,
    required: bool = False,
    progress: OnProgress | None = None,
) -> list[Check]:
    """Look at a split's list, images, image-level labels and masks.

    Args:
        dataset: whose files are read; unchanged ones are not read again.
        split: one of `dataset.splits`.
        reference: a list to compare the split's with, an id per line.
        required: whether the split must be there although the dataset may do without.
        progress: told (done, total) while files are read.

    Raises:
        InputError: the reference cannot be read.
    """
    if not dataset.has_list(split) and split in dataset.optional_splits and not required:
        sentence = (
            f"there is no list {dataset.list_path(split)}: prepare the dataset if a config uses '{split}'"
        )
        return [Check("list", split, "absent", expected_ids(dataset, split), notes=[sentence])]
    listed = check_list(dataset, split, reference)
    if not dataset.has_list(split):
        return [listed]
    try:
        ids = dataset.ids(split)
    except InputError:  # told by `check_list`
        return [listed]
    images = dataset.image_facts(ids, progress)
    checks = [listed, check_images(dataset, split, images)]
    if split in dataset.unlabelled_splits:
        return checks
    checks.append(check_labels(dataset, split, ids, progress))
    masks = dataset.mask_facts(ids, split, progress, required=dataset.needs_masks(split))
    checks += check_masks(dataset, split, ids, images, masks)
    if dataset.mask_labels_path.is_file():
        checks.append(check_derived_labels(dataset, split, ids, masks))
    return checks


def check_images(dataset: Dataset, split: str, images: Sequence[ImageFact | InputError]) -> Check:
    """Count the images that are whole, and note colours and orientations that are unusual."""
    ids = dataset.ids(split)
    gray, turned = [], []
    for image_id, image in zip(ids, images, strict=True):
        if isinstance(image, InputError):
            continue
        path = dataset.image_path(image_id)
        if image.mode == "L" and not dataset.gray_images:
            gray.append(f"the image {path} is gray, which is unusual here: replace it unless it is meant")
        if image.orientation != 1:
            turned.append(
                f"the image {path} has EXIF orientation {image.orientation}, which viewers and OpenCV apply "
                "and nothing here: see that its mask fits the stored pixels, then remove the tag"
            )
    problems = sentences(images)
    return Check("images", split, whole_count(images), f"{len(ids):,}", problems, gray + turned)


def check_labels(
    dataset: Dataset, split: str, ids: Sequence[str], progress: OnProgress | None = None
) -> Check:
    """Count the images with image-level labels."""
    try:
        labels = dataset.label_facts(ids, progress)
    except InputError as error:  # one file for all
        return Check("labels", split, "unusable", f"{len(ids):,}", [str(error)])
    return Check("labels", split, whole_count(labels), f"{len(ids):,}", sentences(labels))
