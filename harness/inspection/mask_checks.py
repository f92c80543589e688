"""Are the masks there, with known labels, their images' sizes, VOC's colours and the official content?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.data.dataset import Dataset
from harness.data.image_file import ImageFact
from harness.data.label_list import read_label_list
from harness.data.palette import IGNORE, MaskFact
from harness.errors import InputError
from harness.inspection.check import Check, sentences, whole_count

_COLOURS = {"voc": "VOC's", "gray": "gray", "other": "other"}


def check_masks(
    dataset: Dataset,
    split: str,
    ids: Sequence[str],
    images: Sequence[ImageFact | InputError],
    masks: Sequence[MaskFact | InputError | None],
) -> list[Check]:
    """Look at masks: whether they are there with known labels, their sizes, palettes and official content."""
    there = [mask for mask in masks if isinstance(mask, MaskFact)]
    problems = sentences(masks)
    notes = []
    if absent := sum(mask is None for mask in masks):
        notes = [f"{absent:,} images of split '{split}' have no mask: only full supervision would need them"]
    expected = f"{len(ids):,}" if dataset.needs_masks(split) else "-"
    checks = [Check("masks", split, whole_count(masks), expected, problems, notes)]
    if not there:
        return checks
    wrong = [str(error) for error in dataset.wrong_sizes(ids, split, images, masks)]
    fitting = sum(
        isinstance(image, ImageFact) and isinstance(mask, MaskFact) for image, mask in zip(images, masks)
    )
    checks.append(Check("sizes", split, f"{fitting - len(wrong):,} as images", f"{fitting:,}", wrong))
    checks.append(_check_palettes(dataset, split, ids, masks))
    if len(there) == len(ids):
        checks += _check_content(dataset, split, ids, there)
    return checks


def check_derived_labels(
    dataset: Dataset, split: str, ids: Sequence[str], masks: Sequence[MaskFact | InputError | None]
) -> Check:
    """Compare the image-level labels that were derived from masks with the masks."""
    path = dataset.mask_labels_path
    try:
        derived = read_label_list(path, dataset.num_classes)
    except InputError as error:
        return Check("derived", split, "unusable", "-", [str(error)])
    problems, same = [], 0
    for image_id, mask in zip(ids, masks, strict=True):
        if isinstance(mask, MaskFact):
            shown = [label - 1 for label, _ in mask.pixels if label not in (0, IGNORE)]
            same += derived.get(image_id) == shown
            if derived.get(image_id) != shown:
                problems.append(
                    f"{path} has other labels for image {image_id} than its mask "
                    f"{dataset.mask_path(image_id, split)} shows: prepare the dataset again"
                )
    return Check("derived", split, f"{same:,} as masks", f"{same + len(problems):,}", problems)


def _check_palettes(
    dataset: Dataset, split: str, ids: Sequence[str], masks: Sequence[MaskFact | InputError | None]
) -> Check:
    kinds = Counter(mask.colours for mask in masks if isinstance(mask, MaskFact))
    found = ", ".join(f"{count:,} {_COLOURS[kind]}" for kind, count in kinds.most_common())
    notes = [
        f"the mask {dataset.mask_path(image_id, split)} has another palette than VOC's, so viewers show "
        "wrong colours, though its labels are right: write it again with VOC's palette or none"
        for image_id, mask in zip(ids, masks, strict=True)
        if isinstance(mask, MaskFact) and mask.colours == "other"
    ]
    return Check("palette", split, found, "VOC's or gray", notes=notes)


def _check_content(
    dataset: Dataset, split: str, ids: Sequence[str], masks: Sequence[MaskFact]
) -> list[Check]:
    """Compare masks with the official ones where these are known and the ids are theirs."""
    official = dataset.official_splits.get(split)
    if not official or not official.masks or not dataset.has_official_ids(split):
        return []
    found = dataset.masks_hash(ids, masks)
    sentence = (
        f"labels in the masks of {dataset.mask_path(ids[0], split).parent} for split '{split}' are not the "
        "official ones: replace the folder, or take the data as custom"
    )
    problems = [] if found == official.masks else [sentence]
    return [Check("content", split, found[:8], official.masks[:8], problems)]
