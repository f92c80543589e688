# SemPLeS on VOC 2012 from the CAM checkpoint that WeakTr's authors released, in place of a training of our
# own.
_base_ = "./voc.py"
title = "SemPLeS, released WeakTr"

stages = dict(
    weaktr=dict(
        weights=dict(_delete_=True, name="weaktr-voc-cam"),
        validation=None,
        train_cfg=dict(max_epochs=0),
    ),
)
