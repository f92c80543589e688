# VWE on shapes. The backbone starts from random weights, so layer1 and layer2 train too (detach_layer2), and
# words are few because images are.
_base_ = ["../_base_/pipelines/irn_deeplabv2_shapes.py", "../_base_/classifiers/cam_r18_shapes.py"]
title = "VWE"
custom_imports = ["methods.vwe", "methods.irn", "methods.modules"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="VWE",
            variant="vwe",
            num_classes=10,
            k_words=64,
            detach_layer2=False,
            backbone=_base_.small_backbone,
        ),
        transform=_base_.cam_train.transform,
        train_dataloader=_base_.cam_train.train_dataloader,
        optim_wrapper=_base_.cam_train.optim_wrapper,
        param_scheduler=_base_.cam_train.param_scheduler,
        train_cfg=_base_.cam_train.train_cfg,
    ),
    cam_scores=dict(
        type="infer",
        split="train",
        checkpoint="cam",
        inference=dict(
            type="MultiScaleCAM",
            scales=_base_.cam_infer.inference.scales,
            flip_fusion="max",
            high_res="direct",
        ),
    ),
    seeds=_base_.cam_seeds,
)
