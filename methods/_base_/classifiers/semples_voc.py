# The three trainings of SemPLeS on VOC 2012 (Lin et al., WACV 2025), from a trained WeakTr; the rates of the
# commands are per 512 images.
_base_ = "weaktr_voc.py"

semples_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    weights=dict(name="clip-vit-b-32-openai", target="clip"),
    param_scheduler=dict(type="EpochCosineLR", epochs=60, min_lr=0.0),
    train_cfg=dict(max_epochs=60),
)
semples_model = dict(network=dict(num_classes=20, reduction=8, pooling="max"), clip=dict(), texts="voc")
semples_adamw = dict(type="AdamW", betas=(0.9, 0.999), eps=1e-8, weight_decay=0.03)

# (a) and (c) train alike.
semples_matching = dict(
    **semples_train,
    transform=dict(type="AugmentedCrop", crop=224),
    train_dataloader=dict(batch_size=64),
    optim_wrapper=dict(optimizer=dict(**semples_adamw, lr=6.4e-5)),
    validation=_base_.weaktr_validation,
)

# (a) Segment-label matching.
semples_match = dict(
    **semples_matching,
    model=dict(type="SegmentLabelMatching", **semples_model, back_weight=2.4, mask_eps=0.1),
    init=dict(stage="weaktr", target="network"),
)

# (b) Contrastive prompt learning, without RandAugment and erasing.
semples_prompts = dict(
    **semples_train,
    model=dict(type="ContrastivePrompts", **semples_model, length=30, text_weight=0.02, mask_eps=1e-4),
    init=dict(stage="match", source="network.", target="network"),
    transform=dict(type="AugmentedCrop", crop=224, rand_augment=None, erasing=0.0),
    train_dataloader=dict(batch_size=128),
    optim_wrapper=dict(optimizer=dict(**semples_adamw, lr=0.025)),
)

# (c) Matching with prompt-guided refinement; it starts from WeakTr again, not from (a).
semples_cam = dict(
    **semples_matching,
    model=dict(
        type="PromptGuidedRefinement",
        **semples_model,
        length=30,
        back_weight=2.4,
        refine_weight=0.05,
        mask_eps=0.1,
    ),
    init=[
        dict(stage="weaktr", target="network"),
        dict(stage="prompts", source="learned.", target="learned"),
    ],
)
