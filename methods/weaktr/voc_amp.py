# WeakTr with its CAM network in mixed precision on a GPU, as the release trains it.
_base_ = "voc.py"
title = "WeakTr, mixed precision"

stages = dict(
    cam=dict(optim_wrapper=dict(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")),
)
