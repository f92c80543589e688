# VWE on MS COCO 2014. Nothing is released for COCO: everything here that VOC's config does not say is an
# assumption of this project (80 classes, VOC's augmentation, optimiser and epochs).
_base_ = "./voc.py"
title = "VWE"
dataset = dict(name="coco", num_classes=80)

stages = dict(
    cam=dict(split="train", model=dict(num_classes=80)),
    cam_scores=dict(split="train"),
    ir_label=dict(split="train"),
    irn=dict(split="train", model=dict(num_classes=81)),
    pseudo=dict(split="train"),
    seg=dict(split="train", model=dict(num_classes=81)),
)
