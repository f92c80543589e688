# PPC on SEAM (Du, Fu, Liu, Wang, CVPR 2022) on VOC 2012. Published: seed 61.5, pseudo 69.2 (train),
# seg_crf 67.7 (val).
_base_ = [
    "../_base_/pipelines/affinitynet_voc.py",
    "../_base_/segmentors/deeplab_largefov_r38_voc.py",
]
title = "PPC"
custom_imports = ["methods.ppc", "methods.modules", "methods.converters"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="PPC",
            num_classes=20,
            backbone=dict(type="ResNet38"),
            view_size=128,
            background_score=0.20,
        ),
        weights=_base_.wide_weights,
        transform=dict(type="LongSideCrop", long_side=(448, 768), crop=448, jitter=_base_.wide_jitter),
        train_dataloader=dict(batch_size=8),
        optim_wrapper=dict(
            optimizer=_base_.wide_sgd,
            paramwise_cfg=dict(
                custom_keys={
                    "fc8": dict(lr_mult=10),
                    "fc_proj": dict(lr_mult=10),
                    "correlation": dict(lr_mult=10),
                }
            ),
        ),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=8),
    ),
    cam_scores=dict(
        type="infer",
        split="train_aug",
        checkpoint="cam",
        inference=dict(
            type="MultiScaleCAM",
            scales=(0.5, 1.0, 1.5, 2.0),
            flip_fusion="sum",
            high_res="direct",
            normalisation="min_max",
        ),
    ),
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.26,
        sweep=dict(start=0.0, stop=0.59, step=0.01),
    ),
    cam_crf=dict(refiner=dict(unary="labels")),
    # A constant background, where SEAM has a power of the classes' scores.
    pseudo=dict(refiner=dict(background=0.27)),
    seg=_base_.largefov_train,
)
