# WeakTr's CAM network on DeiT-S, on VOC 2012: training, CAMs, their evaluation (arXiv 2304.01184).

# The release keeps the epoch that is best on masks of training images, at the best threshold of a sweep;
# best=None keeps the last one.
weaktr_validation = dict(
    split="train",
    epochs=1,
    outputs=dict(
        cam=dict(
            inference=dict(type="MultiScaleCAM", scales=(1.0,), flip_fusion="sum", normalisation="range"),
            sweep=dict(start=0.40, stop=0.59, step=0.01, stop_at_drop=True),
        )
    ),
    best="cam",
)

weaktr_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="WeakTr", num_classes=20, reduction=8, pooling="max"),
    # Head and fusion are new.
    weights=dict(name="deit-small-imagenet1k", target="backbone"),
    transform=dict(type="AugmentedCrop", crop=224),
    train_dataloader=dict(batch_size=64),
    # 6e-4 per 512 images; the decay is on norms and biases, too.
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=7.5e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.03)
    ),
    param_scheduler=dict(type="EpochCosineLR", epochs=60, warmup_epochs=5, warmup_lr=1e-6, min_lr=1e-5),
    train_cfg=dict(max_epochs=60),
    validation=weaktr_validation,
)

weaktr_infer = dict(
    type="infer",
    split="train_aug",
    checkpoint="cam",
    inference=dict(type="MultiScaleCAM", scales=(1.0, 1.2), flip_fusion="sum", normalisation="range"),
)

weaktr_seeds = dict(
    type="evaluate",
    split="train",
    scores="cam_scores",
    number="seed",
    threshold=0.43,
    sweep=dict(start=0.40, stop=0.59, step=0.01, stop_at_drop=True),
)
