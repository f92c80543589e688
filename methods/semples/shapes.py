# SemPLeS on shapes: WeakTr's narrow transformer, a small CLIP that learns from captions of the same pictures,
# and the three trainings, without the choice of a checkpoint by masks. Pseudo masks and Segmenter are
# WeakTr's.
_base_ = "../weaktr/shapes.py"
title = "SemPLeS"
custom_imports = [
    "methods.semples.model",
    "methods.semples.pair",
    "methods.weaktr",
    "methods.modules",
    "harness.data.mm_pipeline",
]

small_network = dict(num_classes=10, backbone=_base_.narrow_vit, reduction=2, pooling="max")
small_clip = dict(
    embed_dim=64,
    image_size=96,
    vision_layers=(1, 1, 1, 1),
    vision_width=8,
    context_length=24,
    text_width=64,
    text_heads=2,
    text_layers=2,
)
small_adamw = dict(type="AdamW", lr=3e-4, weight_decay=0.03)
small_crop = dict(type="LongSideCrop", long_side=(96, 160), crop=96)
from_weaktr = dict(stage="weaktr", target="network")
from_pair = dict(stage="pair", source="clip.", target="clip")

stages = dict(
    pair=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(type="CaptionContrast", clip=small_clip),
        transform=small_crop,
        train_dataloader=dict(batch_size=16),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2)),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=12),
    ),
    weaktr=_base_.weaktr_train,
    match=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="SegmentLabelMatching",
            network=small_network,
            clip=small_clip,
            texts="shapes",
            back_weight=2.4,
            mask_eps=1e-3,
        ),
        init=[from_weaktr, from_pair],
        transform=small_crop,
        train_dataloader=dict(batch_size=32),
        optim_wrapper=dict(optimizer=small_adamw),
        param_scheduler=dict(type="EpochCosineLR", epochs=2),
        train_cfg=dict(max_epochs=2),
    ),
    prompts=dict(
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="ContrastivePrompts",
            network=small_network,
            clip=small_clip,
            texts="shapes",
            length=8,
            text_weight=0.02,
            mask_eps=1e-4,
        ),
        init=[dict(stage="match", source="network.", target="network"), from_pair],
        transform=small_crop,
        train_dataloader=dict(batch_size=32),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.025, weight_decay=0.03)),
        param_scheduler=dict(type="EpochCosineLR", epochs=2),
        train_cfg=dict(max_epochs=2),
    ),
    cam=dict(
        _delete_=True,
        type="train",
        split="train_aug",
        labels="image",
        model=dict(
            type="PromptGuidedRefinement",
            network=small_network,
            clip=small_clip,
            texts="shapes",
            length=8,
            back_weight=2.4,
            refine_weight=0.05,
            mask_eps=1e-3,
        ),
        init=[from_weaktr, dict(stage="prompts", source="learned.", target="learned"), from_pair],
        transform=small_crop,
        train_dataloader=dict(batch_size=32),
        optim_wrapper=dict(optimizer=small_adamw),
        param_scheduler=dict(type="EpochCosineLR", epochs=2),
        train_cfg=dict(max_epochs=2),
    ),
    seg=dict(init=dict(source="network.backbone.")),
)
