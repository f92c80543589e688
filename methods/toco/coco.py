# ToCo on COCO 2014, as released. Published: 41.3 val with CRF.
_base_ = ["voc.py", "../_base_/pipelines/token_contrast_coco.py"]
title = "ToCo"
dataset = dict(name="coco", num_classes=80)

stages = dict(
    **_base_.coco_stages,
    cam=dict(
        **_base_.coco_train,
        model=dict(
            num_classes=80,
            backbone=dict(auxiliary_block=9),
            thresholds=dict(high=0.65),
            phases=dict(contrast=12001, seg=8001, main_labels=12001),
            temperature=1.0,
        ),
    ),
)
