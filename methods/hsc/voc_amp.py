# HSC with both networks in bfloat16 on a GPU; its losses stay in single precision, as the paper's training.
_base_ = "voc.py"
title = "HSC, bfloat16"

stages = dict(
    cam=dict(optim_wrapper=dict(type="AmpOptimWrapper", dtype="bfloat16")),
    seg=dict(optim_wrapper=dict(type="AmpOptimWrapper", dtype="bfloat16")),
)
