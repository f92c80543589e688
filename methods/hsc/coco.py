# HSC on COCO 2014, unofficial: the paper and its release have nothing for COCO. Data and length are those of
# EPS on COCO, the terms are HSC's with 81 channels in banks, CRF labels and top-k.
_base_ = "voc.py"
title = "HSC, unofficial on COCO"
dataset = dict(name="coco", num_classes=80)

stages = dict(
    cam=dict(
        split="train",
        model=dict(num_classes=80, tau=0.4, alpha=0.9),
        transform=dict(long_side=(256, 448), crop=321),
        train_dataloader=dict(batch_size=16),
        param_scheduler=dict(_delete_=True, type="PolyLR", power=0.9),
        train_cfg=dict(max_iters=256_500),
    ),
    cam_scores=dict(split="train"),
    seeds=dict(threshold=0.20),
    pseudo=dict(split="train", refiner=dict(background=0.20)),
    seg=dict(
        split="train",
        model=dict(num_classes=81),
        param_scheduler=dict(end=155_002),
        train_cfg=dict(max_iters=155_000),
    ),
    seg_masks=dict(split="val_all"),
    seg_eval_all=dict(type="evaluate", split="val_all", masks="seg_masks", number="seg"),
)
