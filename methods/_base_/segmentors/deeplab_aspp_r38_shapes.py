# DeepLab with a fused ASPP on the narrow ResNet-38 that the CAM network leaves.

seg_train = dict(
    type="train",
    split="train",
    labels="pseudo",
    model=dict(
        type="DeepLabASPP",
        num_classes=11,
        backbone=dict(type="ResNet38", base_channels=8, norm="batch", frozen_stages=0),
        rates=(1, 2, 4),
        momentum=0.1,
        train_bn_affine=True,
    ),
    init=dict(stage="cam", source="backbone.", target="backbone"),
    transform=dict(type="HSVScaleCrop", scale=(0.75, 1.25), crop=96, shift=5),
    train_dataloader=dict(batch_size=10),
    optim_wrapper=dict(
        optimizer=dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=5e-4),
        paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10)}),
    ),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_iters=250),
)

seg_masks = dict(
    type="refine", split="val", checkpoint="seg", refiner=dict(type="MultiScaleSegmentation", scales=(1.0,))
)
seg_crf = dict(
    type="refine",
    split="val",
    checkpoint="seg",
    refiner=dict(type="MultiScaleSegmentation", scales=(1.0, 1.5), flip=True, crf={}),
)
