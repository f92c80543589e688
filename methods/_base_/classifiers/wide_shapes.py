# What the CAM networks on a narrow "wide" ResNet-38 share on shapes: it starts from random weights, so its
# norms learn.

narrow_backbone = dict(type="ResNet38", base_channels=8, norm="batch", frozen_stages=0, dropout=(0.0, 0.0))

narrow_sgd = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)

narrow_transform = dict(type="LongSideCrop", long_side=(96, 160), crop=112)

# Stands for the ImageNet weights that the papers start from: a plain classifier on the same labels, in small
# batches, since steps count more than pictures per step.
narrow_pretrain = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="WideCAM", num_classes=10, backbone=narrow_backbone),
    transform=narrow_transform,
    train_dataloader=dict(batch_size=8),
    optim_wrapper=dict(optimizer=narrow_sgd),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_epochs=3),
)
narrow_init = dict(stage="pretrain", source="backbone.", target="backbone")

# CAM, SEAM, EPS and HSC: the same training for all, so that only the losses differ.
narrow_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    init=narrow_init,
    transform=narrow_transform,
    train_dataloader=dict(batch_size=8),
    optim_wrapper=dict(optimizer=dict(narrow_sgd, lr=0.03)),
    param_scheduler=dict(type="WarmupPolyLR", max_steps=400, warmup=30, ratio=1e-2),
    train_cfg=dict(max_epochs=2),
)

narrow_infer = dict(
    type="infer",
    split="train",
    checkpoint="cam",
    inference=dict(type="MultiScaleCAM", scales=(1.0, 1.5), flip_fusion="sum", high_res="direct"),
)

narrow_seeds = dict(
    type="evaluate",
    split="train",
    scores="cam_scores",
    number="seed",
    threshold=0.3,
    sweep=dict(start=0.0, stop=0.80, step=0.01),
)

# Refined CAMs, stretched by minimum and maximum: SEAM, PPC and RTC.
narrow_refined_infer = dict(
    type="infer",
    split="train",
    checkpoint="cam",
    inference=dict(
        type="MultiScaleCAM",
        scales=(1.0, 1.5),
        flip_fusion="sum",
        high_res="direct",
        normalisation="min_max",
    ),
)

# Contrast with prototypes (PPC, RTC) starts from a trunk that knows the classes and keeps what it knows: new
# layers learn at ten times its rate, and its norms are frozen, both as in the papers. Two views of different
# size would share the norms' statistics.
narrow_frozen = dict(narrow_backbone, norm="frozen")

narrow_contrast = dict(
    narrow_train,
    optim_wrapper=dict(optimizer=narrow_sgd, paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.1)})),
    param_scheduler=dict(type="PolyLR", power=0.9),
)
