# DeepLab v2's head and loss on a narrow ResNet-18 that starts from the CAM network's backbone.

seg_train = dict(
    type="train",
    split="train",
    labels="pseudo",
    model=dict(
        type="DeepLabV2",
        num_classes=11,
        backbone=dict(
            type="StageResNet",
            depth=18,
            base_channels=32,
            strides=(2, 2, 1, 1),
            dilations=(1, 1, 2, 2),
            norm="batch",
            freeze_stem=False,
        ),
        atrous_rates=(1, 2, 4),
        scales=(),
        train_aspp_bias=True,
    ),
    init=dict(stage="cam", source="backbone.", target="backbone"),
    transform=dict(type="DeepLabCrop", scales=(0.75, 1.0, 1.25), crop=97, pixels="imagenet"),
    train_dataloader=dict(batch_size=10),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=5e-4)),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_iters=400),
)

seg_infer = dict(
    type="infer",
    split="val",
    checkpoint="seg",
    inference=dict(type="SegmentationLogits", transform=dict(type="WholeImage", pixels="imagenet")),
)
