# VWE on MS COCO 2014. Nothing is released for COCO: everything here that VOC's config does not say is an
# assumption of this project (80 classes; VOC's augmentation, optimiser and epochs).
# Published, with settings that are not: VWL-M 36.1, VWL-L 36.2 val.
_base_ = "./voc.py"
title = "VWE"
dataset = dict(name="coco", num_classes=80)

stages = dict(
    cam=dict(split="train", model=dict(num_classes=80)),
    cam_scores=dict(split="train"),
    ir_label=dict(split="train"),
    irn=dict(split="train", model=dict(num_classes=81)),
    pseudo=dict(split="train"),
    seg=dict(
        split="train",
        model=dict(num_classes=81),
        # VOC's config starts from a network that has seen COCO's masks, which would be full supervision here.
        weights=dict(name="deeplabv1-resnet101-imagenet"),
        train_cfg=dict(max_iters=155_000),  # 19 epochs, as VOC's 20,000
    ),
    # All of val2014 for 0.9 % more: the number is stated with and without the images that have no annotation.
    seg_scores=dict(split="val_all"),
    seg_eval_all=dict(type="evaluate", split="val_all", scores="seg_scores", number="seg"),
)
