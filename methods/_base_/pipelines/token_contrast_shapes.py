# The pipeline of token_contrast_voc.py on shapes, after a training of the two classifiers alone, which stands
# for the ImageNet weights.
_base_ = "../datasets/shapes.py"

side = 96
narrow_vit = dict(
    embed_dim=96,
    depth=4,
    num_heads=3,
    patch_size=8,
    image_size=side,
    auxiliary_block=-2,
    learn_positions=True,
)
narrow_heads = dict(
    backbone=narrow_vit,
    scales=(1.0, 0.5, 1.5),
    decoder=dict(channels=64, dilation=2),
    projector=dict(channels=256, bottleneck=64, out_channels=128),
)
# Colours tell these classes, and pictures are a fifth as large as photographs.
narrow_transform = dict(type="ContrastViews", crop=side, scale=(0.75, 1.5), greyed=0.0, radius=(0.02, 0.4))

narrow_pretrain = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(type="TokenClassifier", num_classes=10, **narrow_heads),
    transform=dict(type="LongSideCrop", long_side=(96, 160), crop=side),
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05)),
    param_scheduler=dict(type="WarmupPolyLR", max_steps=1200, warmup=100, ratio=1e-2),
    train_cfg=dict(max_iters=1200),
)

narrow_model = dict(
    num_classes=10,
    **narrow_heads,
    # Maps of a transformer that saw few images are peaks: most of an object has a low value.
    thresholds=dict(low=0.01, high=0.15),
    phases=dict(contrast=0, seg=50, main_labels=0, main_views=None),
    local_views=4,
)

narrow_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    init=[
        dict(stage="pretrain", source=f"{part}.", target=part)
        for part in ("backbone", "classifier", "aux_classifier")
    ],
    transform=narrow_transform,
    train_dataloader=dict(batch_size=8),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01),
        paramwise_cfg=dict(
            custom_keys={
                "classifier": dict(lr_mult=10),
                "projector": dict(lr_mult=10),
                "decoder": dict(lr_mult=10),
            }
        ),
    ),
    param_scheduler=dict(type="WarmupPolyLR", max_steps=250, warmup=25, ratio=1e-2),
    train_cfg=dict(max_iters=250),
    validation=dict(
        split="val",
        interval=125,
        images=50,
        outputs=dict(
            cam=dict(inference=dict(type="SquareMaps", size=side), map="cam", threshold=0.05),
            aux_cam=dict(inference=dict(type="SquareMaps", size=side), map="aux_cam", threshold=0.05),
            seg=dict(inference=dict(type="SquareLogits", size=side)),
        ),
    ),
)

stages = dict(
    cam_scores=dict(
        type="infer", split="train", checkpoint="cam", inference=dict(type="SquareMaps", size=side)
    ),
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.05,
        sweep=dict(start=0.0, stop=0.60, step=0.02),
    ),
    seg_scores=dict(
        type="infer", split="val", checkpoint="cam", inference=dict(type="SquareLogits", size=side)
    ),
    seg_eval=dict(type="evaluate", split="val", scores="seg_scores", number="seg"),
    seg_crf=dict(
        type="refine",
        split="val",
        checkpoint="cam",
        refiner=dict(
            type="FusedSegmentation", scales=(1.0, 1.5, 1.25), flips="sum", over_scales="max", crf={}
        ),
    ),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
