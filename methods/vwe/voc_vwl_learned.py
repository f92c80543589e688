# VWL-L (Ru, Du, Zhan, Wu, IJCV 2022): learned codebook with decorrelation loss, ResNet-101.
# Published: CAM 57.3 on train; DeepLab v2 with COCO weights 70.6 val.
_base_ = "./voc.py"
title = "VWL-L"

stages = dict(
    cam=dict(
        model=dict(variant="vwl_learned", backbone=dict(depth=101)),
        weights=dict(name="resnet101-imagenet1k-v1"),
        # The release's inference script reads epoch 5 of 6; the default here is the last one. The other:
        # --set stages.cam_scores.epoch=5
        train_cfg=dict(keep_epochs=[5]),
    ),
    seeds=dict(threshold=0.13),
)
