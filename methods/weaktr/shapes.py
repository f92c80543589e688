# WeakTr on shapes: all stages of voc.py on a narrow transformer, without the choice of a checkpoint by masks.
_base_ = ["../_base_/datasets/shapes.py", "../_base_/classifiers/weaktr_shapes.py"]
title = "WeakTr"
custom_imports = ["methods.weaktr", "methods.modules", "harness.data.mm_pipeline"]

stages = dict(
    cam=_base_.weaktr_train,
    cam_scores=_base_.weaktr_infer,
    seeds=_base_.weaktr_seeds,
    pseudo=dict(
        type="refine",
        split="train",
        scores="cam_scores",
        refiner=dict(type="CAMLabelCRF", background=0.2),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=dict(
        type="train",
        split="train",
        labels="pseudo",
        model=dict(
            type="Segmenter",
            num_classes=11,
            # The class tokens stay, so that the backbone is that of the CAM network.
            backbone=dict(num_tokens=10, **_base_.narrow_vit, final_norm=False),
            layers=1,
            dropout=0.0,
            clip_patch=24,
        ),
        init=dict(stage="cam", source="backbone.", target="backbone"),
        transform=dict(
            type="MMPipeline",
            transforms=[
                dict(type="RandomResize", scale=(512, 128), ratio_range=(0.75, 1.25), keep_ratio=True),
                dict(type="RandomCrop", crop_size=(96, 96), cat_max_ratio=0.75),
                dict(type="RandomFlip", prob=0.5),
                dict(type="Pad", size=(96, 96), pad_val=dict(img=(104, 116, 124), seg=255)),
            ],
        ),
        train_dataloader=dict(batch_size=8),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.03)),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=6),
    ),
    seg_masks=dict(
        type="refine",
        split="val",
        checkpoint="seg",
        refiner=dict(type="SlidingWindowSegmentation", short_side=None, window=96, stride=64),
    ),
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=dict(
        type="refine",
        split="val",
        checkpoint="seg",
        refiner=dict(
            type="SlidingWindowSegmentation",
            short_side=None,
            scales=(1.0, 1.25),
            flip=True,
            window=96,
            stride=64,
            crf={},
        ),
    ),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
