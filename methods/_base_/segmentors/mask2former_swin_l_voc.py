# FMA-WSSS's second stage on VOC 2012: Mask2Former on Swin-L. Its configs are not public; these settings are
# those of mmsegmentation's recipe for ADE20K, with crops of 512, batches of 4 and 80,000 iterations.

mask2former = dict(type="Mask2Former", num_classes=21)

mask2former_train = dict(
    type="train",
    split="train_aug",
    labels="pseudo",
    model=mask2former,
    weights=dict(
        name="swin-large-384-imagenet22k",
        target="backbone",
        allow_missing=["hidden_states_norms."],
    ),
    transform=dict(
        type="MMPipeline",
        transforms=[
            dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PhotoMetricDistortion"),
            # The mean colour, BGR: 0 where there is no image.
            dict(type="Pad", size=(512, 512), pad_val=dict(img=(104, 116, 124), seg=255)),
        ],
    ),
    train_dataloader=dict(batch_size=4),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
        clip_grad=dict(max_norm=0.01, norm_type=2),
        paramwise_cfg=dict(
            custom_keys={
                "pixel_level_module.encoder": dict(lr_mult=0.1),
                "queries_embedder": dict(decay_mult=0),
                "queries_features": dict(decay_mult=0),
                "level_embed": dict(decay_mult=0),
            },
            norm_decay_mult=0,
        ),
    ),
    param_scheduler=dict(type="PolyLR", power=0.9, eta_min=0.0),
    train_cfg=dict(max_iters=80_000),
)

# Images at their own size, one scale, no CRF.
mask2former_masks = dict(
    type="refine", split="val", checkpoint="seg", refiner=dict(type="MultiScaleSegmentation", scales=(1.0,))
)
