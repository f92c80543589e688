# SemPLeS (Lin et al., WACV 2025) on VOC 2012. Published: seed 68.7 (train), segmentation 83.4 (val) with
# Mask2Former on Swin-L, which is voc_mask2former.py; here DeepLab as for the other methods.
_base_ = [
    "../_base_/pipelines/semples_voc.py",
    "../_base_/segmentors/deeplab_aspp_r101s_voc.py",
]
title = "SemPLeS"

stages = dict(
    seg=_base_.seg_train,
    seg_masks=_base_.seg_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=_base_.seg_crf,
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
