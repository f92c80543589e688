# WeakTr on a narrow transformer from random weights: a stem of convolutions learns from few images, mimetic
# weights give an affinity that refines, and patches of 8 pixels leave enough of pictures of 96 to 160.

narrow_vit = dict(
    image_size=96, patch_size=8, width=64, depth=2, heads=2, drop_path=0.0, stem="conv", mimetic=True
)

weaktr_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="WeakTr", num_classes=10, backbone=narrow_vit, reduction=2, pooling="max"),
    transform=dict(type="LongSideCrop", long_side=(96, 160), crop=96),
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(optimizer=dict(type="AdamW", lr=3e-3, weight_decay=0.03)),
    param_scheduler=dict(type="EpochCosineLR", epochs=10, warmup_epochs=1, warmup_lr=1e-3, late=0),
    train_cfg=dict(max_epochs=10),
)

weaktr_infer = dict(
    type="infer",
    split="train",
    checkpoint="cam",
    inference=dict(type="MultiScaleCAM", scales=(1.0, 1.2), flip_fusion="sum", normalisation="range"),
)

weaktr_seeds = dict(
    type="evaluate",
    split="train",
    scores="cam_scores",
    number="seed",
    threshold=0.2,
    sweep=dict(start=0.0, stop=0.80, step=0.01),
)
