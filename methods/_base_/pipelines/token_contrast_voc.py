# One training of class maps and decoder → its CAMs scored → the decoder's masks, single scale and multi-scale
# with CRF, on VOC 2012: ToCo and MCC.
_base_ = "../datasets/voc.py"

square = 448  # side of the crop, and of the square that images are resized to
deit_base = dict(embed_dim=768, depth=12, num_heads=12, patch_size=16, image_size=224, auxiliary_block=-3)

token_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    # The authors' own checkpoints, which can take the place of these weights, do not count steps.
    weights=dict(name="deit-base-imagenet1k", target="backbone", allow_missing=["iteration"]),
    transform=dict(type="ContrastViews", crop=square),
    train_dataloader=dict(batch_size=4),
    optim_wrapper=dict(
        # Weights of norms and biases decay, too.
        optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
        paramwise_cfg=dict(
            custom_keys={
                "classifier": dict(lr_mult=10),  # both
                "projector": dict(lr_mult=10),
                "decoder": dict(lr_mult=10),
            }
        ),
    ),
    param_scheduler=dict(type="WarmupPolyLR", max_steps=20000, warmup=1500, ratio=1e-6, power=0.9),
    train_cfg=dict(max_iters=20000, checkpoint_interval=500, log_interval=200),
    # As the releases: on val, with its image-level labels for the class maps.
    validation=dict(
        split="val",
        interval=2000,
        outputs=dict(
            cam=dict(inference=dict(type="SquareMaps", size=square), map="cam", threshold=0.5),
            aux_cam=dict(inference=dict(type="SquareMaps", size=square), map="aux_cam", threshold=0.5),
            seg=dict(inference=dict(type="SquareLogits", size=square)),
        ),
    ),
)

stages = dict(
    cam_scores=dict(
        type="infer", split="train", checkpoint="cam", inference=dict(type="SquareMaps", size=square)
    ),
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.5,
        sweep=dict(start=0.30, stop=0.60, step=0.05),
    ),
    seg_scores=dict(
        type="infer", split="val", checkpoint="cam", inference=dict(type="SquareLogits", size=square)
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
