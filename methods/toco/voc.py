# ToCo (Ru, Zheng, Zhan, Du, CVPR 2023) on VOC 2012, as released. Published: 69.8 val, 70.5 test with CRF.
_base_ = "../_base_/pipelines/token_contrast_voc.py"
title = "ToCo"
custom_imports = ["methods.toco", "methods.converters"]

stages = dict(
    cam=dict(
        **_base_.token_train,
        model=dict(
            type="ToCo",
            num_classes=20,
            backbone=_base_.deit_base,
            scales=(1.0, 0.5, 1.5),
            thresholds=dict(low=0.25, high=0.7),
            phases=dict(contrast=0, seg=2001, main_labels=0, main_views=None),
            local_views=8,
            crop_size=96,
            temperature=0.5,
            images_per_process=2,
        ),
    ),
)
