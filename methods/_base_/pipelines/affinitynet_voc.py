# CAMs → two CRFs → AffinityNet → random walk → pseudo masks → DeepLab → CRF, on VOC 2012: SEAM and PPC.
# The numbers are SEAM's; PPC has unary="labels" in cam_crf and background=0.27 in pseudo.
_base_ = ["cam_deeplab_voc.py", "../classifiers/wide_voc.py"]

stages = dict(
    # alpha 4 has more background than alpha 24; AffinityNet learns where both agree.
    cam_crf=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        output="soft_masks",
        refiner=dict(type="AffinityCRF", low=4, high=24, unary="scores"),
    ),
    affinity=dict(
        type="train",
        split="train_aug",
        labels="cam_crf",
        model=dict(type="AffinityNet", num_classes=21, backbone=dict(type="ResNet38"), radius=5),
        weights=_base_.wide_weights,
        transform=dict(type="AffinityCrop", crop=448, jitter=_base_.wide_jitter),
        train_dataloader=dict(batch_size=8),
        optim_wrapper=dict(
            optimizer=_base_.wide_sgd,
            paramwise_cfg=dict(
                custom_keys={name: dict(lr_mult=10) for name in ("f8_3", "f8_4", "f8_5", "f9")}
            ),
        ),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=8),
    ),
    pseudo=dict(
        _delete_=True,
        type="refine",
        split="train_aug",
        scores="cam_scores",
        checkpoint="affinity",
        refiner=dict(type="AffinityRandomWalk", beta=8, exp_times=6, alpha=6),
    ),
)
