# SEAM on shapes: the losses of the paper on a narrow network, the second view half as large as the first.
_base_ = ["../_base_/pipelines/cam_deeplab_shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "SEAM"
custom_imports = ["methods.seam", "methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        _base_.narrow_train,
        model=dict(type="SEAM", num_classes=10, backbone=_base_.narrow_backbone, view_scale=0.5),
    ),
    cam_scores=_base_.narrow_refined_infer,
    seeds=_base_.narrow_seeds,
    # As in HSC's: with a shorter second stage than EPS's, all is done in eight minutes.
    seg=dict(train_cfg=dict(max_iters=120)),
    seg_crf=dict(refiner=dict(scales=(1.0,))),
)
