# RTC on shapes, the single stage: the losses of the paper on a narrow network, the second view half as large
# as the first.
_base_ = ["../_base_/datasets/shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "RTC"
custom_imports = ["methods.rtc", "methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        _base_.narrow_contrast,
        model=dict(
            type="RTC",
            num_classes=10,
            backbone=_base_.narrow_frozen,
            view_size=56,
            seg_from=200,
            embedding=64,
            dropout=0.0,
            segmentation=dict(width=64, shallow=16, dilation=2),
        ),
        transform=dict(type="BoxedLongSideCrop", long_side=(96, 160), crop=112),
        train_cfg=dict(max_epochs=3),
    ),
    cam_scores=_base_.narrow_refined_infer,
    seeds=_base_.narrow_seeds,
    seg_scores=dict(
        type="infer",
        split="val",
        checkpoint="cam",
        inference=dict(type="GatedScores", scales=(1.0, 1.5)),
    ),
    seg_eval=dict(
        type="evaluate",
        split="val",
        scores="seg_scores",
        number="seg",
        threshold=0.17,
        sweep=dict(start=0.0, stop=0.59, step=0.01),
    ),
    seg_crf=dict(
        type="refine",
        split="val",
        checkpoint="cam",
        refiner=dict(type="GatedSegmentation", scales=(1.0, 1.5), background=0.17, crf={}),
    ),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
