# What the CAM networks on a narrow "wide" ResNet-38 share on shapes: it starts from random weights, so its
# norms learn, and AdamW learns in fewer iterations than SGD.

narrow_backbone = dict(type="ResNet38", base_channels=8, norm="batch", frozen_stages=0, dropout=(0.0, 0.0))

narrow_adamw = dict(type="AdamW", lr=2e-3, weight_decay=1e-2)

narrow_transform = dict(type="LongSideCrop", long_side=(96, 160), crop=112)

# Stands for the ImageNet weights that the papers start from: a plain classifier on the same labels.
narrow_pretrain = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="WideCAM", num_classes=10, backbone=narrow_backbone),
    transform=narrow_transform,
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(optimizer=narrow_adamw),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_epochs=3),
)
narrow_init = dict(stage="pretrain", source="backbone.", target="backbone")

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
