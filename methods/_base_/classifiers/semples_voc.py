# The three trainings of SemPLeS on VOC 2012 (Lin et al., WACV 2025), from a trained WeakTr; the rates of the
# commands are per 512 images.
_base_ = "weaktr_voc.py"

semples_network = dict(num_classes=20, reduction=8, pooling="max")
semples_clip = dict(name="clip-vit-b-32-openai", target="clip")
semples_cosine = dict(type="EpochCosineLR", epochs=60, min_lr=0.0)

# (a) Segment-label matching.
semples_match = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(
        type="SegmentLabelMatching",
        network=semples_network,
        clip=dict(),
        texts="voc",
        back_weight=2.4,
        mask_eps=0.1,
    ),
    weights=semples_clip,
    init=dict(stage="weaktr", target="network"),
    transform=dict(type="AugmentedCrop", crop=224),
    train_dataloader=dict(batch_size=64),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=6.4e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.03)
    ),
    param_scheduler=semples_cosine,
    train_cfg=dict(max_epochs=60),
    validation=_base_.weaktr_validation,
)

# (b) Contrastive prompt learning, without RandAugment and erasing.
semples_prompts = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(
        type="ContrastivePrompts",
        network=semples_network,
        clip=dict(),
        texts="voc",
        length=30,
        text_weight=0.02,
        mask_eps=1e-4,
    ),
    weights=semples_clip,
    init=dict(stage="match", source="network.", target="network"),
    transform=dict(type="AugmentedCrop", crop=224, rand_augment=None, erasing=0.0),
    train_dataloader=dict(batch_size=128),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=0.025, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.03)
    ),
    param_scheduler=semples_cosine,
    train_cfg=dict(max_epochs=60),
)

# (c) Matching with prompt-guided refinement; it starts from WeakTr again, not from (a).
semples_cam = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(
        type="PromptGuidedRefinement",
        network=semples_network,
        clip=dict(),
        texts="voc",
        length=30,
        back_weight=2.4,
        refine_weight=0.05,
        mask_eps=0.1,
    ),
    weights=semples_clip,
    init=[
        dict(stage="weaktr", target="network"),
        dict(stage="prompts", source="learned.", target="learned"),
    ],
    transform=dict(type="AugmentedCrop", crop=224),
    train_dataloader=dict(batch_size=64),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=6.4e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.03)
    ),
    param_scheduler=semples_cosine,
    train_cfg=dict(max_epochs=60),
    validation=_base_.weaktr_validation,
)
