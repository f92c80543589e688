# CAMs → confident labels → IRNet → random walk → pseudo masks → DeepLab v2 → CRF, on VOC 2012.
_base_ = ["../datasets/voc.py", "../segmentors/deeplabv2_r101_voc.py"]

stages = dict(
    ir_label=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        refiner=dict(type="IRLabel", conf_fg=0.30, conf_bg=0.05),
    ),
    irn=dict(
        type="train",
        split="train_aug",
        labels="ir_label",
        model=dict(
            type="IRNet",
            num_classes=21,
            radius=10,
            edge_width=32,
            displacement_width=256,
            backbone=dict(type="StageResNet", depth=50),
        ),
        weights=dict(name="resnet50-imagenet1k-v1", target="backbone"),
        transform=dict(type="RandomScaleCrop", scale=(0.5, 1.5), crop=512),
        train_dataloader=dict(batch_size=32),
        # Momentum 1e-4 as in the release, see classifiers/cam_r50_voc.py.
        optim_wrapper=dict(
            optimizer=dict(type="SGD", lr=0.1, momentum=1e-4, weight_decay=1e-4),
            paramwise_cfg=dict(custom_keys=dict(displacement_branch=dict(lr_mult=10))),
        ),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=3),
    ),
    pseudo=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        checkpoint="irn",
        refiner=dict(type="IRNRandomWalk", beta=10, exp_times=8, radius=5, background=0.25, pad_to=512),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.seg_train,
    seg_scores=_base_.seg_infer,
    seg_eval=dict(type="evaluate", split="val", scores="seg_scores", number="seg"),
    seg_crf=dict(
        type="refine",
        split="val",
        scores="seg_scores",
        refiner=dict(
            type="DenseCRF",
            crf=dict(
                iterations=10,
                gaussian_sxy=1,
                gaussian_compat=3,
                bilateral_sxy=67,
                bilateral_srgb=3,
                bilateral_compat=4,
            ),
        ),
    ),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
