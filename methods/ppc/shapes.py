# PPC on shapes: the losses of the paper on a narrow network, the second view half as large as the first.
_base_ = ["../_base_/pipelines/cam_deeplab_shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "PPC"
custom_imports = ["methods.ppc", "methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        _base_.narrow_contrast,
        model=dict(
            type="PPC",
            num_classes=10,
            backbone=_base_.narrow_frozen,
            view_size=56,
            hard=(1, 6),
            embedding=64,
            dropout=0.0,
        ),
    ),
    cam_scores=_base_.narrow_refined_infer,
    seeds=dict(_base_.narrow_seeds, threshold=0.1),
    pseudo=dict(refiner=dict(background=0.1)),
)
