# WeakTr on COCO 2014 as the documentation that SemPLeS ships says; its checkpoints have this network.
_base_ = "./coco.py"
title = "WeakTr, settings of 2023"

stages = dict(
    cam=dict(
        model=dict(reduction=4, pooling="avg"),
        optim_wrapper=dict(optimizer=dict(lr=6.25e-5, weight_decay=0.05)),
    )
)
