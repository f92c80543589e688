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
text_tower = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")
from_weaktr = dict(stage="weaktr", target="network")
from_pair = dict(stage="pair", source="clip.", target="clip")

small_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    transform=dict(type="LongSideCrop", long_side=(96, 160), crop=96),
)
# Masks of most maps would be faint with VOC's 0.1: half of the maps have a range below 0.003.
small_model = dict(
    network=dict(num_classes=10, backbone=_base_.narrow_vit, reduction=2, pooling="max"),
    clip=small_clip,
    texts="shapes",
    mask_eps=1e-4,
)
small_matching = dict(
    **small_train,
    train_dataloader=dict(batch_size=32),
    optim_wrapper=dict(optimizer=dict(type="AdamW", lr=3e-3, weight_decay=0.03)),
    param_scheduler=dict(type="EpochCosineLR", epochs=2),
    train_cfg=dict(max_epochs=2),
)

stages = dict(
    pair=dict(
        **small_train,
        model=dict(type="CaptionContrast", clip=small_clip),
        train_dataloader=dict(batch_size=16),
        # Texts that learn as fast as pictures fall together before the pictures tell them apart.
        optim_wrapper=dict(
            optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2),
            paramwise_cfg=dict(custom_keys={f"clip.{part}": dict(lr_mult=0.1) for part in text_tower}),
        ),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_epochs=16),
    ),
    weaktr=_base_.weaktr_train,
    match=dict(
        **small_matching,
        model=dict(type="SegmentLabelMatching", **small_model, back_weight=0.75),
        init=[from_weaktr, from_pair],
    ),
    prompts=dict(
        **small_train,
        model=dict(type="ContrastivePrompts", **small_model, length=8, text_weight=0.02),
        init=[dict(stage="match", source="network.", target="network"), from_pair],
        train_dataloader=dict(batch_size=32),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.025, weight_decay=0.03)),
        param_scheduler=dict(type="EpochCosineLR", epochs=2),
        train_cfg=dict(max_epochs=2),
    ),
    cam=dict(
        _delete_=True,
        **small_matching,
        model=dict(
            type="PromptGuidedRefinement",
            **small_model,
            length=8,
            back_weight=0.75,
            refine_weight=0.05,
        ),
        init=[from_weaktr, dict(stage="prompts", source="learned.", target="learned"), from_pair],
    ),
    seg=dict(init=dict(source="network.backbone.")),
)
