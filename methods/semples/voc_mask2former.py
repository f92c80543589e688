# SemPLeS on VOC 2012 with the second stage of the paper: Mask2Former on Swin-L, tested without a CRF.
_base_ = [
    "../_base_/pipelines/semples_voc.py",
    "../_base_/segmentors/mask2former_swin_l_voc.py",
]
title = "SemPLeS, Mask2Former"
custom_imports = [
    "methods.semples.model",
    "methods.semples.mask2former",
    "methods.weaktr",
    "methods.modules",
    "methods.converters",
    "harness.data.mm_pipeline",
]

stages = dict(
    seg=_base_.mask2former_train,
    seg_masks=_base_.mask2former_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
)
