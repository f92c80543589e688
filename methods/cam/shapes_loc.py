# CAMs on shapes as localisation: boxes around what the class maps show, on the images with one class.
_base_ = "shapes.py"
title = "CAM, localisation"

stages = dict(
    loc_scores=dict(
        type="infer", split="val", checkpoint="cam", inference=dict(type="LocalizationCAM", side=128)
    ),
    loc=dict(
        type="evaluate",
        metric="localization",
        split="val",
        scores="loc_scores",
        number="loc",
        threshold=0.4,
        sweep=dict(start=0.0, stop=0.99, step=0.01),
    ),
)
