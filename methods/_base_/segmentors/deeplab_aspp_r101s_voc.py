# The second stage of HSC and PPC: DeepLab with a fused ASPP on the deep-stem ResNet-101 (their code base).

segmentor = dict(
    type="DeepLabASPP",
    num_classes=21,
    # Output stride 8 without a multi-grid; the first block of a dilated layer has half its dilation.
    backbone=dict(
        type="mmseg.ResNetV1c",
        depth=101,
        stem_channels=128,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        # The release trains no norm's scale and bias; statistics are those of the batch.
        norm_cfg=dict(type="BN", requires_grad=False),
    ),
    rates=(6, 12, 18, 24),
    momentum=0.0003,
)

seg_train = dict(
    type="train",
    split="train_aug",
    labels="pseudo",
    model=segmentor,
    weights=dict(name="resnet101s-imagenet", target="backbone"),
    transform=dict(type="HSVScaleCrop", scale=(0.5, 1.5), crop=448, shift=10),
    train_dataloader=dict(batch_size=10),
    optim_wrapper=dict(
        optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=5e-4),
        paramwise_cfg=dict(
            custom_keys={"head": dict(lr_mult=10), "head.3.bias": dict(lr_mult=20, decay_mult=0)}
        ),
    ),
    # (1 - iteration / 20001)^0.9
    param_scheduler=dict(type="PolyLR", power=0.9, end=20002),
    train_cfg=dict(max_iters=20000),
)

# One scale, no CRF; logits are the network's at the image's size.
seg_masks = dict(
    type="refine", split="val", checkpoint="seg", refiner=dict(type="MultiScaleSegmentation", scales=(1.0,))
)
seg_crf = dict(
    type="refine",
    split="val",
    checkpoint="seg",
    refiner=dict(
        type="MultiScaleSegmentation",
        scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        flip=True,
        crf=dict(
            iterations=10,
            gaussian_sxy=1,
            gaussian_compat=3,
            bilateral_sxy=67,
            bilateral_srgb=3,
            bilateral_compat=4,
        ),
    ),
)
