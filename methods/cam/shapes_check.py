# CAMs with a CRF on shapes in a minute or two, for this project's own regression check (docs/regression.md).
# A small network, AdamW and a background score below the best one give mIoU that varies by less than two
# points between seeds; as short a training with SGD varies by three, and the CRF's effect drowns in it.
_base_ = ["../_base_/datasets/shapes.py", "../_base_/classifiers/cam_r18_shapes.py"]
title = "CAM with CRF, short"
custom_imports = ["methods.cam", "methods.modules"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="CAMNet",
            num_classes=10,
            backbone=dict(
                type="StageResNet",
                depth=18,
                base_channels=16,
                strides=(2, 2, 2, 1),
                norm="batch",
                freeze_stem=False,
            ),
        ),
        transform=_base_.cam_train.transform,
        train_dataloader=_base_.cam_train.train_dataloader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2)),
        param_scheduler=_base_.cam_train.param_scheduler,
        train_cfg=dict(max_iters=400),
    ),
    cam_scores=dict(
        type="infer",
        split="train",
        checkpoint="cam",
        inference=dict(type="MultiScaleCAM", scales=(1.0,), flip_fusion="sum", high_res="pad16"),
    ),
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.5,
        sweep=dict(start=0.01, stop=0.80, step=0.01),
    ),
    pseudo=dict(
        type="refine",
        split="train",
        scores="cam_scores",
        refiner=dict(type="CAMDenseCRF", background=0.4, crf=dict(bilateral_sxy=20, bilateral_compat=4.0)),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
)
