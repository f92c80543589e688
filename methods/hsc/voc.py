# HSC (Wu, Li, Dai, Li, Liu, Xie, IJCAI 2023) with saliency, on VOC 2012, as released.
# Published: 74.5 test with DeepLab v2 and CRF.
_base_ = ["../_base_/pipelines/cam_deeplab_voc.py", "../_base_/classifiers/wide_voc.py"]
title = "HSC"
custom_imports = ["methods.hsc", "methods.modules", "methods.converters"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        auxiliary=["saliency"],
        model=dict(
            type="HSC",
            num_classes=20,
            backbone=dict(type="ResNet38"),
            view_size=128,
            tau=0.5,
            alpha=0.5,
            background_score=0.10,
        ),
        # The authors' own checkpoint, which can take the place of these weights, holds no banks.
        weights=dict(**_base_.wide_weights, allow_missing=["bank_"]),
        transform=dict(type="LongSideCrop", long_side=(448, 768), crop=448, jitter=_base_.wide_jitter),
        train_dataloader=dict(batch_size=12),
        optim_wrapper=dict(
            optimizer=_base_.wide_sgd,
            paramwise_cfg=dict(
                custom_keys={
                    "fc8": dict(lr_mult=10),
                    "proj_fc": dict(lr_mult=10),
                    "correlation": dict(lr_mult=10),
                    # extra_F was meant to train at ten times the rate, too, and is not matched.
                    "extra_F.0.bias": dict(lr_mult=2, decay_mult=0),
                    "extra_F.3.bias": dict(lr_mult=2, decay_mult=0),
                }
            ),
        ),
        # The rate decays for 15 epochs (881 batches each) and then stays, at 2e-6, to the end.
        param_scheduler=dict(type="HeldPolyLR", power=0.9, max_steps=13215),
        train_cfg=dict(max_iters=20000),
    ),
    cam_scores=_base_.wide_infer,
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.22,
        sweep=dict(start=0.0, stop=0.59, step=0.01),
    ),
)
