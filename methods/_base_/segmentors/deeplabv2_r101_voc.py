# DeepLab v2 on ResNet-101 as VWE trains it on pseudo masks (the authors' public DeepLab code).

segmentor = dict(
    type="DeepLabV2",
    num_classes=21,
    # Caffe layout: blocks stride in their first convolution; dilation 2 and 4 in the last two layers; norms
    # are frozen including their affine parameters.
    backbone=dict(
        type="StageResNet",
        depth=101,
        style="caffe",
        strides=(2, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm="frozen",
        freeze_affine=True,
        freeze_stem=False,
    ),
    atrous_rates=(6, 12, 18, 24),
    scales=(0.5, 0.75),
)

seg_train = dict(
    type="train",
    split="train_aug",
    labels="pseudo",
    model=segmentor,
    weights=dict(name="deeplabv1-resnet101-coco", target="backbone"),
    transform=dict(type="DeepLabCrop", scales=(0.5, 0.75, 1.0, 1.25, 1.5), crop=321),
    train_dataloader=dict(batch_size=10),
    # The release means to train ASPP at 10 and 20 times this rate, but matches a layer name that does not
    # exist: one group, and the ASPP biases (DeepLabV2.train_aspp_bias) stay 0.
    optim_wrapper=dict(
        optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=5e-4),
        paramwise_cfg=dict(custom_keys={}),
    ),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_iters=20000),
)

seg_infer = dict(
    type="infer",
    split="val",
    checkpoint="seg",
    inference=dict(type="SegmentationLogits", transform=dict(type="WholeImage", pixels="caffe")),
)
