# SemPLeS on COCO 2014 from the CAM checkpoint that WeakTr's authors released. Its file must have reduction 4;
# how it pools, no file says.
_base_ = "./coco.py"
title = "SemPLeS, released WeakTr"

stages = dict(
    weaktr=dict(
        weights=dict(_delete_=True, name="weaktr-coco-cam"),
        validation=None,
        train_cfg=dict(max_epochs=0),
    ),
)
