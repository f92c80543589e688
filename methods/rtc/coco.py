# RTC on COCO 2014. Its release has nothing for COCO: VOC's recipe with 80 classes, as many iterations and the
# same background score are our choice (the journal's 42.51 val is of another configuration).
_base_ = ["../_base_/datasets/coco.py", "../_base_/classifiers/rtc_voc.py"]
title = "RTC, unofficial on COCO"
custom_imports = ["methods.rtc", "methods.modules", "methods.converters"]

stages = dict(
    cam=dict(
        type="train",
        split="train",
        labels="image",
        model=dict(_base_.rtc_train.model, num_classes=80),
        weights=_base_.rtc_train.weights,
        transform=_base_.rtc_train.transform,
        train_dataloader=_base_.rtc_train.train_dataloader,
        optim_wrapper=_base_.rtc_train.optim_wrapper,
        param_scheduler=_base_.rtc_train.param_scheduler,
        train_cfg=dict(max_iters=25 * 1322),
        # Scored once, at the end: the best background score on a part of train.
        validation=dict(
            split="train",
            interval=25 * 1322,
            images=1000,
            outputs=dict(seg=dict(inference=dict(type="GatedScores"), sweep=_base_.rtc_sweep)),
        ),
    ),
    # Masks, not scores: those of val's images would take hundreds of gigabytes.
    seg_masks=dict(
        type="refine",
        split="val",
        checkpoint="cam",
        refiner=dict(type="GatedSegmentation", scales=(0.5, 1.0, 1.5, 2.0), background=0.17),
    ),
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=dict(
        type="refine",
        split="val",
        checkpoint="cam",
        refiner=dict(type="GatedSegmentation", scales=(0.5, 1.0, 1.5, 2.0), background=0.17, crf={}),
    ),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
