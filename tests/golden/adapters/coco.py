"""Golden cases of COCO's semantic masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.data.coco_classes import LABEL_OF_CATEGORY
from harness.data.coco_masks import Region, draw_mask
from tests.golden.case import Case, adapter


@adapter("coco.parse_mask")
def parse_mask(case: Case) -> dict[str, Any]:
    assert [category["id"] for category in case.config["categories"]] == list(LABEL_OF_CATEGORY)
    regions = [
        Region(row["id"], LABEL_OF_CATEGORY[row["category_id"]], row["segmentation"])
        for row in case.config["annotations"]
    ]
    mask = draw_mask(regions, case.config["height"], case.config["width"])
    values, counts = np.unique(mask, return_counts=True)
    rows = ["".join(f"{label:3d}" for label in row) for row in mask]
    return {"mask": mask, "values": values, "counts": counts, "mask_rows": rows}
