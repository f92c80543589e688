# SemPLeS on COCO 2014 with the second stage of the paper: Mask2Former on Swin-L, tested without a CRF.
_base_ = [
    "../_base_/pipelines/semples_coco.py",
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
    # 81 classes; the labels are the project's, without COCO's ten empty ids.
    seg={
        **_base_.mask2former_train,
        "split": "train",
        "model": {**_base_.mask2former, "num_classes": 81},
        "train_cfg": dict(max_iters=100_000),
    },
    seg_masks={**_base_.mask2former_masks, "split": "val_all"},
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_eval_all=dict(type="evaluate", split="val_all", masks="seg_masks", number="seg"),
)
