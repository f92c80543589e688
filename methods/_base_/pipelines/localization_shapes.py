# Boxes around the class maps of `cam` on shapes, for the images of one class: stages of localisation.

loc_scores = dict(
    type="infer", split="val", checkpoint="cam", inference=dict(type="LocalizationCAM", side=128)
)

loc_eval = dict(
    type="evaluate",
    metric="localization",
    split="val",
    scores="loc_scores",
    number="loc",
    threshold=0.4,
    sweep=dict(start=0.0, stop=0.99, step=0.01),
)
