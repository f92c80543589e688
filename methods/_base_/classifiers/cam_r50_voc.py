# CAM-ResNet50 of IRNet's release (Ahn, Cho, Kwak, CVPR 2019): training, multi-scale CAMs, their evaluation.

# SGD of the release: its poly-SGD class passes the weight decay where torch expects the momentum, so the
# momentum in force is 1e-4. With these learning rates 0.9 would be another recipe (10 times larger steps).
sgd_momentum = 1e-4

cam_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="CAMNet", num_classes=20, backbone=dict(type="StageResNet", depth=50, detach_after=2)),
    weights=dict(name="resnet50-imagenet1k-v1", target="backbone"),
    transform=dict(type="LongSideCrop", long_side=(320, 640), crop=512),
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(
        optimizer=dict(type="SGD", lr=0.1, momentum=sgd_momentum, weight_decay=1e-4),
        paramwise_cfg=dict(custom_keys=dict(classifier=dict(lr_mult=10))),
    ),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_epochs=5),
)

cam_infer = dict(
    type="infer",
    split="train_aug",
    checkpoint="cam",
    inference=dict(type="MultiScaleCAM", scales=(1.0, 0.5, 1.5, 2.0), flip_fusion="sum", high_res="pad16"),
)

cam_seeds = dict(
    type="evaluate",
    split="train",
    scores="cam_scores",
    number="seed",
    threshold=0.15,
    sweep=dict(start=0.01, stop=0.60, step=0.01),
)
