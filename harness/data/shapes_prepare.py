"""Preparing the generated dataset in a folder and size of the user's choice."""

from __future__ import annotations

from pathlib import Path

from harness.data.prepare import require_space
from harness.data.recipe import Prepared, Reporter, SplitRow
from harness.data.shapes import Shapes, ShapesSpec, generate_shapes

_PICTURE = 75_000  # bytes on the disk, with mask and annotation; the pixels are not compressed


def prepare_shapes(
    root: Path, reporter: Reporter, *, images: int | None = None, seed: int | None = None
) -> Prepared:
    """Generate the dataset into `root`, unless it is there already.

    Args:
        root: its own folder; created.
        reporter: told what happens.
        images: pictures of train_aug. The first quarter of them is train, and an eighth as many are val,
            which are the default's proportions.
        seed: of the pictures.

    Raises:
        InputError: the disk is too small, or `root` holds something else.
    """
    train_aug = images or ShapesSpec.train_aug
    train, val = max(1, train_aug // 4), max(1, train_aug // 8)
    if not root.exists():
        require_space({root: (train_aug + val) * _PICTURE})
    reporter.plan(["shapes"])
    reporter.begin("shapes", "generating")
    generate_shapes(
        root,
        seed or 0,
        train,
        val,
        train_aug,
        progress=lambda done, total: reporter.progress(done, total, "pictures"),
    )
    shapes = Shapes(root)
    reporter.end(f"{train_aug + val:,} pictures")
    rows = [
        SplitRow(split, len(shapes.ids(split)), len(shapes.ids(split)), shapes.official)
        for split in shapes.splits
    ]
    return Prepared(shapes.root, rows)
