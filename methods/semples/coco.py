# SemPLeS on COCO 2014. Published: segmentation 56.1 (val) with Mask2Former on Swin-L, which is
# coco_mask2former.py; here DeepLab as for the other methods, for as long as EPS trains it.
_base_ = [
    "../_base_/pipelines/semples_coco.py",
    "../_base_/segmentors/deeplab_aspp_r101s_voc.py",
]
title = "SemPLeS"

stages = dict(
    seg={
        **_base_.seg_train,
        "split": "train",
        "model": {**_base_.segmentor, "num_classes": 81},
        "param_scheduler": dict(type="PolyLR", power=0.9, end=155_002),
        "train_cfg": dict(max_iters=155_000),
    },
    # All of val2014 for 0.9 % more: stated with and without the images that have no annotation.
    seg_masks={**_base_.seg_masks, "split": "val_all"},
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_eval_all=dict(type="evaluate", split="val_all", masks="seg_masks", number="seg"),
    seg_crf={**_base_.seg_crf, "split": "val_all"},
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
    seg_crf_eval_all=dict(type="evaluate", split="val_all", masks="seg_crf", number="seg_crf"),
)
