"""Golden cases of the dense CRF at test time, by both backends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch.nn.functional as F

from harness.ops.crf import CRFParameters, crf_from_probabilities
from tests.golden.case import Case, adapter


@adapter("crf.dense")
def dense_crf(case: Case) -> dict[str, Any]:
    config, crf = case.config, case.config["crf"]
    image, logits = (
        F.interpolate(case.tensors[name], size=config["size"], mode="bilinear", align_corners=False)[0]
        for name in ("image_low", "logit_low")
    )
    parameters = CRFParameters(
        iterations=crf["iter_max"],
        gaussian_sxy=crf["pos_xy_std"],
        gaussian_compat=crf["pos_w"],
        bilateral_sxy=crf["bi_xy_std"],
        bilateral_srgb=crf["bi_rgb_std"],
        bilateral_compat=crf["bi_w"],
    )
    pixels = image.permute(1, 2, 0).numpy().astype(np.uint8)
    results = [
        crf_from_probabilities(pixels, logits.softmax(0).numpy(), replace(parameters, backend=backend))
        for backend in ("pydensecrf", "torch")
    ]
    (labels, library), (_, ours) = results
    np.testing.assert_allclose(ours, library, rtol=0, atol=1e-3)
    return {"Q": library, "argmax": labels}
