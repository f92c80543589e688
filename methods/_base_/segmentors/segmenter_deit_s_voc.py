# WeakTr's second stage on VOC 2012: Segmenter on DeiT-S with a loss that clips the gradients of hard pixels.

segmenter = dict(
    type="Segmenter",
    num_classes=21,
    backbone=dict(num_tokens=1, image_size=480),
    layers=2,
    dropout=0.1,
    clip_start=1.2,
    clip_patch=120,
)

segmenter_train = dict(
    type="train",
    split="train_aug",
    labels="pseudo",
    model=segmenter,
    weights=dict(name="deit-small-imagenet1k", target="backbone"),
    transform=dict(
        type="MMPipeline",
        transforms=[
            dict(type="RandomResize", scale=(2080, 520), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(480, 480), cat_max_ratio=0.75),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PhotoMetricDistortion"),
            # The mean colour, BGR: 0 where there is no image.
            dict(type="Pad", size=(480, 480), pad_val=dict(img=(104, 116, 124), seg=255)),
        ],
    ),
    train_dataloader=dict(batch_size=4),
    optim_wrapper=dict(
        optimizer=dict(type="SGD", lr=1e-4, momentum=0.9, nesterov=True, weight_decay=0.0),
        paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    ),
    param_scheduler=dict(type="PolyLR", power=0.9, eta_min=1e-5),
    train_cfg=dict(max_epochs=100),
)

# One scale for the plain number; scales and mirrors with the CRF for the published one. The scales are those
# that mmsegmentation's tests of its time have; the release does not fix them in its text.
segmenter_masks = dict(
    type="refine",
    split="val",
    checkpoint="seg",
    refiner=dict(type="SlidingWindowSegmentation", short_side=520, window=480, stride=320),
)
segmenter_crf = dict(
    type="refine",
    split="val",
    checkpoint="seg",
    refiner=dict(
        type="SlidingWindowSegmentation",
        short_side=520,
        scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        flip=True,
        window=480,
        stride=320,
        crf={},
    ),
)
