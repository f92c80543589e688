# ToCo from ViT-B/16, which was pre-trained on ImageNet-21k. Published: 71.1 val, 72.2 test with CRF.
_base_ = "voc.py"
title = "ToCo, ViT-B"

stages = dict(cam=dict(weights=dict(name="vit-base-imagenet21k1k")))
