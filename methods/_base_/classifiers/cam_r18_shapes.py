# CAM on a narrow ResNet-18 from random weights: the recipe of the paper needs ImageNet weights, this one not.

small_backbone = dict(
    type="StageResNet", depth=18, base_channels=32, strides=(2, 2, 2, 1), norm="batch", freeze_stem=False
)

cam_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="CAMNet", num_classes=10, backbone=small_backbone),
    transform=dict(type="LongSideCrop", long_side=(96, 160), crop=112),
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_epochs=4),
)

cam_infer = dict(
    type="infer",
    split="train",
    checkpoint="cam",
    inference=dict(type="MultiScaleCAM", scales=(1.0, 1.5, 2.0), flip_fusion="sum", high_res="pad16"),
)

cam_seeds = dict(
    type="evaluate",
    split="train",
    scores="cam_scores",
    number="seed",
    threshold=0.3,
    sweep=dict(start=0.01, stop=0.80, step=0.01),
)
