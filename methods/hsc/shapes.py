# HSC on shapes: the losses of the paper on a narrow network, the second view half as large as the first.
_base_ = ["../_base_/pipelines/cam_deeplab_shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "HSC"
custom_imports = ["methods.hsc", "methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        _base_.narrow_train,
        auxiliary=["saliency"],
        model=dict(
            type="HSC",
            num_classes=10,
            backbone=_base_.narrow_backbone,
            view_size=80,
            tau=0.4,
            alpha=0.5,
            background_score=0.10,
            top_loss=32,
            top_update=4,
            psc_bg_prototype="masked",
            bank_init="zeros",
            pixel_channels=64,
            region_channels=64,
        ),
    ),
    cam_scores=_base_.narrow_infer,
    seeds=_base_.narrow_seeds,
    # Its CAM network takes longest: with a shorter second stage than EPS's, all is done in eight minutes.
    seg=dict(train_cfg=dict(max_iters=120)),
    seg_crf=dict(refiner=dict(scales=(1.0,))),
)
