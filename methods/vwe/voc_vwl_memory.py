# VWL-M (Ru, Du, Zhan, Wu, IJCV 2022): codebook as a memory bank, ResNet-101; layer1 and layer2 train too.
# Published: CAM 56.9 on train; DeepLab v2 with COCO weights 70.6 val.
_base_ = "./voc.py"
title = "VWL-M"

stages = dict(
    cam=dict(
        model=dict(variant="vwl_memory", backbone=dict(depth=101)),
        weights=dict(name="resnet101-imagenet1k-v1"),
    ),
    seeds=dict(threshold=0.13),
)
