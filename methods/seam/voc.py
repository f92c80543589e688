# SEAM (Wang, Zhang, Kan, Shan, Chen, CVPR 2020) on VOC 2012. Published: seed 55.4, pseudo 63.6 (train), seg
# 64.5 (val).
_base_ = [
    "../_base_/pipelines/affinitynet_voc.py",
    "../_base_/segmentors/deeplab_largefov_r38_voc.py",
]
title = "SEAM"
custom_imports = ["methods.seam", "methods.modules", "methods.converters"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(type="SEAM", num_classes=20, backbone=dict(type="ResNet38"), view_scale=0.3),
        weights=_base_.wide_weights,
        transform=dict(type="LongSideCrop", long_side=(448, 768), crop=448, jitter=_base_.wide_jitter),
        train_dataloader=dict(batch_size=8),
        optim_wrapper=dict(
            optimizer=_base_.wide_sgd,
            paramwise_cfg=dict(custom_keys={"fc8": dict(lr_mult=10), "correlation": dict(lr_mult=10)}),
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
    seg=_base_.largefov_train,
)
