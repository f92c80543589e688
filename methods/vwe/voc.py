# VWE (Ru, Du, Wu, IJCAI 2021) on VOC 2012, as released; pseudo masks by IRNet, then DeepLab v2.
# Published: 66.3 val, 67.2 val with CRF.
_base_ = "../_base_/pipelines/irn_deeplabv2_voc.py"
title = "VWE"
custom_imports = ["methods.vwe", "methods.irn", "methods.modules", "methods.converters"]

stages = dict(
    cam=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="VWE",
            variant="vwe",
            num_classes=20,
            k_words=256,
            hspp_levels=(1, 2, 4),
            hspp_gamma=2.0,
            backbone=dict(type="StageResNet", depth=50),
        ),
        weights=dict(name="resnet50-imagenet1k-v1", target="backbone"),
        transform=dict(type="LongSideCrop", long_side=(320, 640), crop=512),
        train_dataloader=dict(batch_size=16),
        # Momentum 1e-4: the release's poly-SGD class passes the weight decay in momentum's place.
        optim_wrapper=dict(
            optimizer=dict(type="SGD", lr=0.01, momentum=1e-4, weight_decay=1e-4),
            paramwise_cfg=dict(
                custom_keys=dict(
                    classifier=dict(lr_mult=10),
                    fc_a=dict(lr_mult=10),
                    fc_b=dict(lr_mult=10),
                    codebook=dict(lr_mult=10),
                )
            ),
        ),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=6),
    ),
    cam_scores=dict(
        type="infer",
        split="train_aug",
        checkpoint="cam",
        inference=dict(
            type="MultiScaleCAM", scales=(1.0, 0.5, 1.5, 2.0), flip_fusion="max", high_res="direct"
        ),
    ),
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.14,
        sweep=dict(start=0.01, stop=0.60, step=0.01),
    ),
)
