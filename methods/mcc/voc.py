# MCC (Wu, He, Yin, Hao, Huang, Cheng, WACV 2024) on VOC 2012, as released.
# Published: 70.3 val, 71.2 test with CRF.
_base_ = "../_base_/pipelines/token_contrast_voc.py"
title = "MCC"
custom_imports = ["methods.toco", "methods.mcc", "methods.converters"]

stages = dict(
    cam=dict(
        **_base_.token_train,
        model=dict(
            type="MCC",
            num_classes=20,
            backbone=_base_.deit_base,
            scales=(1.0, 0.5, 1.5),
            thresholds=dict(low=0.25, high=0.7),
            phases=dict(contrast=0, seg=2001, main_labels=0, main_views=12001),
            local_views=8,
            mask_rate=0.95,
            mask_scale=4,
            temperature=0.5,
            images_per_process=1,
        ),
    ),
)
