# ToCo on shapes: a narrow transformer from random weights.
_base_ = "../_base_/pipelines/token_contrast_shapes.py"
title = "ToCo"
custom_imports = ["methods.toco"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        **_base_.narrow_train,
        model=dict(type="ToCo", **_base_.narrow_model, crop_size=32),
    ),
)
