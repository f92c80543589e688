# EPS (Lee, Lee, Lee, Shim, CVPR 2021) on VOC 2012. Published: seed 69.2 (train).
_base_ = ["../_base_/pipelines/cam_deeplab_voc.py", "../_base_/classifiers/wide_voc.py"]
title = "EPS"
custom_imports = ["methods.eps", "methods.modules", "methods.converters"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        auxiliary=["saliency"],
        model=dict(type="EPS", num_classes=20, backbone=dict(type="ResNet38"), tau=0.4, alpha=0.5),
        weights=_base_.wide_weights,
        transform=dict(type="LongSideCrop", long_side=(256, 512), crop=448, jitter=_base_.wide_jitter),
        train_dataloader=dict(batch_size=8),
        optim_wrapper=dict(
            optimizer=_base_.wide_sgd, paramwise_cfg=dict(custom_keys={"fc8": dict(lr_mult=10)})
        ),
        # 15 epochs of 1,322 batches, then it stays.
        param_scheduler=dict(type="HeldPolyLR", power=0.9, max_steps=19830),
        train_cfg=dict(max_iters=20000),
    ),
    cam_scores=_base_.wide_infer,
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.20,
        sweep=dict(start=0.0, stop=0.59, step=0.01),
    ),
    pseudo=dict(refiner=dict(background=0.20)),
)
