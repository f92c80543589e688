# MCC on shapes: a narrow transformer from random weights.
_base_ = "../_base_/pipelines/token_contrast_shapes.py"
title = "MCC"
custom_imports = ["methods.toco", "methods.mcc"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        **_base_.narrow_train,
        model=dict(type="MCC", **_base_.narrow_model, mask_scale=2, mask_rate=0.9),
    ),
)
