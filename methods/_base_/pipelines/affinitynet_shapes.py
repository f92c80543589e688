# The stages of affinitynet_voc.py on shapes, for configs on the narrow ResNet-38: a short training. They take
# the place of `pseudo` in cam_deeplab_shapes.py.

affinity_crf = dict(
    type="refine",
    split="train",
    scores="cam_scores",
    output="soft_masks",
    refiner=dict(type="AffinityCRF", low=2, high=6, unary="scores", num_classes=11),
)

affinity_train = dict(
    type="train",
    split="train",
    labels="cam_crf",
    model=dict(
        type="AffinityNet",
        num_classes=11,
        backbone=dict(type="ResNet38", base_channels=8, norm="batch", frozen_stages=0, dropout=(0.0, 0.0)),
        radius=5,
    ),
    init=dict(stage="cam", source="backbone.", target="backbone"),
    transform=dict(type="AffinityCrop", crop=112),
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2)),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_iters=100),
)

affinity_pseudo = dict(
    _delete_=True,
    type="refine",
    split="train",
    scores="cam_scores",
    checkpoint="affinity",
    refiner=dict(type="AffinityRandomWalk", beta=8, exp_times=4, alpha=2),
)
