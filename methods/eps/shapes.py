# EPS on shapes; saliency is computed with the pictures, errors included.
_base_ = ["../_base_/pipelines/cam_deeplab_shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "EPS"
custom_imports = ["methods.eps", "methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        _base_.narrow_train,
        auxiliary=["saliency"],
        model=dict(type="EPS", num_classes=10, backbone=_base_.narrow_backbone, tau=0.4, alpha=0.5),
    ),
    cam_scores=_base_.narrow_infer,
    seeds=_base_.narrow_seeds,
)
