# CAM on the narrow ResNet-38: the baseline of SEAM, PPC, EPS, HSC and RTC on shapes, with as many iterations.
_base_ = ["../_base_/pipelines/cam_deeplab_shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "CAM, ResNet-38"
custom_imports = ["methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        _base_.narrow_train,
        model=dict(type="WideCAM", num_classes=10, backbone=_base_.narrow_backbone),
        init=dict(stage="pretrain"),
    ),
    cam_scores=_base_.narrow_infer,
    seeds=_base_.narrow_seeds,
)
