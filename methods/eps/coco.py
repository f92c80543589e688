# EPS on COCO 2014. Published: seed 37.2 (train). Crop, sizes, tau, alpha, batch, iterations and threshold are
# those of the authors (spec hsc, section 18). All else is VOC's, which is an assumption; the second stage
# trains 19 epochs, as VOC's 20,000 iterations.
_base_ = "voc.py"
title = "EPS"
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
    pseudo=dict(split="train"),
    seg=dict(
        split="train",
        model=dict(num_classes=81),
        param_scheduler=dict(end=155_002),
        train_cfg=dict(max_iters=155_000),
    ),
    # All of val2014 for 0.9 % more: the number is stated with and without the images that have no annotation.
    seg_masks=dict(split="val_all"),
    seg_eval_all=dict(type="evaluate", split="val_all", masks="seg_masks", number="seg"),
)
