"""Registries of what configs name by `type` and mmseg has no registry for.

An inference turns an image into scores by a trained network: see `harness.inference.Inference`.

A refiner turns one image into a mask. Its `kind` says how the `refine` stage runs it:

- `cpu`: `refiner(image, scores) -> mask` in a pool of processes, so the object must pickle;
- `model`: `refiner(image, scores, model, device) -> mask` beside a trained model;
- `stream`: `refiner.predict(image, model, device) -> scores` beside a trained model, then as `cpu`. No scores
  come in, and these are not stored: full-size logits of VOC's val would take 20 GB.

`image` is (H, W, 3) uint8 RGB, `scores` the arrays of a scores artifact, the mask (H, W) uint8.
"""

from __future__ import annotations

from mmengine.registry import Registry

INFERENCES = Registry("inference", scope="harness", locations=["harness.inference"])
REFINERS = Registry(
    "refiner",
    scope="harness",
    locations=[
        "harness.ops.crf_refiner",
        "harness.ops.threshold_refiner",
        "harness.ops.segmentation_refiner",
    ],
)
