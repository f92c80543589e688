# HSC on shapes: the losses of the paper on a narrow network, the second view half as large as the first.
_base_ = ["../_base_/pipelines/cam_deeplab_shapes.py", "../_base_/classifiers/wide_shapes.py"]
title = "HSC"
custom_imports = ["methods.hsc", "methods.modules"]

stages = dict(
    pretrain=_base_.narrow_pretrain,
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
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
            pixel_channels=64,
            region_channels=64,
        ),
        init=_base_.narrow_init,
        transform=_base_.narrow_transform,
        train_dataloader=dict(batch_size=16),
        optim_wrapper=dict(optimizer=_base_.narrow_adamw),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=2),
    ),
    cam_scores=_base_.narrow_infer,
    seeds=_base_.narrow_seeds,
)
